"""A set of numbers kept as closed ranges: small while it has few holes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable


class Ranges:
    """Numbers from 1 on. `upto` is the highest with no hole below it; `above` the ranges behind the first hole."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def __contains__(self, seq: int) -> bool:
        i = bisect_right(self._first, seq) - 1
        return i >= 0 and seq <= self._last[i]

    def __bool__(self) -> bool:
        return bool(self._first)

    def add(self, first: int, last: int) -> None:
        """Take in `first..last`, both included; an empty range is none."""
        if last < first:
            return
        i = bisect_right(self._first, first) - 1
        if i < 0 or self._last[i] < first - 1:
            i += 1
        j = i
        while j < len(self._first) and self._first[j] <= last + 1:
            first, last = min(first, self._first[j]), max(last, self._last[j])
            j += 1
        self._first[i:j] = [first]
        self._last[i:j] = [last]

    def covers(self, first: int, last: int) -> bool:
        """Whether every number of `first..last` is in the set."""
        i = bisect_right(self._first, first) - 1
        return i >= 0 and last <= self._last[i]

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
        return list(zip(self._first, self._last, strict=True))

    @property
    def upto(self) -> int:
        return self._last[0] if self._first and self._first[0] <= 1 else 0

    @property
    def above(self) -> list[tuple[int, int]]:
        return [(a, b) for a, b in self.all() if a > 1]
