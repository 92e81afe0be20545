"""A set of numbers kept as closed ranges: small while it has few holes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

_END = 1 << 63


class Ranges:
    """Numbers from 1 on. `upto` is the highest with no hole below it; `above` the ranges behind the first hole.

    One thread may add while others look: they have the list from before or the one from after.
    """

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._spans: list[tuple[int, int]] = []
        self.update(ranges)

    def __contains__(self, seq: int) -> bool:
        return self.covers(seq, seq)

    def __bool__(self) -> bool:
        return bool(self._spans)

    def add(self, first: int, last: int) -> None:
        """Take in `first..last`, both included; an empty range is none."""
        self.update([(first, last)])

    def update(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Take in many: one change."""
        spans = self._spans.copy()
        for first, last in ranges:
            if first <= last:
                _join(spans, first, last)
        self._spans = spans

    def covers(self, first: int, last: int) -> bool:
        """Whether every number of `first..last` is in the set."""
        spans = self._spans
        i = bisect_right(spans, (first, _END)) - 1
        return i >= 0 and last <= spans[i][1]

    def holes(self, first: int, last: int) -> list[tuple[int, int]]:
        """The closed ranges of `first..last` that are not in the set."""
        found: list[tuple[int, int]] = []
        at = first
        for a, b in self.all():
            if b < at:
                continue
            if a > last:
                break
            if a > at:
                found.append((at, a - 1))
            at = b + 1
        if at <= last:
            found.append((at, last))
        return found

    def all(self) -> list[tuple[int, int]]:
        return list(self._spans)

    @property
    def upto(self) -> int:
        spans = self._spans
        return spans[0][1] if spans and spans[0][0] <= 1 else 0

    @property
    def last(self) -> int:
        """The highest number, 0 when there is none."""
        return self._spans[-1][1] if self._spans else 0

    @property
    def above(self) -> list[tuple[int, int]]:
        return [(a, b) for a, b in self.all() if a > 1]


def _join(spans: list[tuple[int, int]], first: int, last: int) -> None:
    i = bisect_right(spans, (first, _END)) - 1
    if i < 0 or spans[i][1] < first - 1:
        i += 1
    j = i
    while j < len(spans) and spans[j][0] <= last + 1:
        first, last = min(first, spans[j][0]), max(last, spans[j][1])
        j += 1
    spans[i:j] = [(first, last)]
