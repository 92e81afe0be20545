"""Which numbers were given up, by reason."""

from __future__ import annotations

from agent.spool.ranges import Ranges


class Gone:
    """As many ranges as there are holes: neighbours become one."""

    def __init__(self) -> None:
        self._by_why: dict[str, Ranges] = {}

    def add(self, first: int, last: int, why: str) -> None:
        if why not in self._by_why:
            self._by_why = {**self._by_why, why: Ranges()}  # others may be looking
        self._by_why[why].add(first, last)

    def without(self, settled: Ranges) -> list[tuple[int, int, str]]:
        """Those of which the other end does not know all; the others are forgotten."""
        self._by_why = {
            why: left
            for why, ranges in self._by_why.items()
            if (left := Ranges(r for r in ranges.all() if not settled.covers(*r)))
        }
        return self.all()

    def all(self) -> list[tuple[int, int, str]]:
        """(first, last, why), in order of numbers."""
        return sorted((a, b, why) for why, ranges in self._by_why.items() for a, b in ranges.all())
