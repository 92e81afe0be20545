"""Which numbers were given up and why: a text file of `FIRST LAST WHY`, appended and synced."""

from __future__ import annotations

import os
from pathlib import Path

from agent.spool.ranges import Ranges

NOT_OURS = "copy"  # numbers that another device with a copy of this spool may use: never declared


class Tombstones:
    """`add` never fails: what the disk does not take now is kept in memory and written by `save`.

    A line that a power cut costs is found again at the next start, as a number that is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unsaved: list[str] = []
        self.all: list[tuple[int, int, str]] = []
        self.numbers = Ranges()
        try:
            lines = path.read_text().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            words = line.split()
            if len(words) == 3 and words[0].isdigit() and words[1].isdigit():
                self._know(int(words[0]), int(words[1]), words[2])

    def _know(self, first: int, last: int, why: str) -> None:
        if self.all and self.all[-1][1:] == (first - 1, why):
            self.all[-1] = (self.all[-1][0], last, why)
        else:
            self.all.append((first, last, why))
        self.numbers.add(first, last)

    def add(self, first: int, last: int, why: str) -> None:
        """Give these numbers up, durably if the disk takes it."""
        self._know(first, last, why)
        self._unsaved.append(f"{first} {last} {why}\n")
        try:
            self.save()
        except OSError:
            pass

    def save(self) -> None:
        """Write what is not on disk yet; raises OSError."""
        if not self._unsaved:
            return
        with open(self._path, "a", encoding="ascii") as f:
            f.write("".join(self._unsaved))
            f.flush()
            os.fsync(f.fileno())
        self._unsaved.clear()
