"""Which numbers were given up and why: a text file of `FIRST LAST WHY`, appended and synced."""

from __future__ import annotations

import os
from pathlib import Path

from agent.durable import write_whole
from agent.spool.gone import Gone
from agent.spool.ranges import Ranges

NOT_OURS = "copy"  # numbers that another device with a copy of this spool may use: never declared
LOOSE_BYTES = 64 * 1024


class Tombstones:
    """`add` never waits for the disk; `save` writes what is not there yet.

    A line that a power cut costs is found again at the next start, as a number that is missing. `size`: of the file,
    which is written anew, with neighbours in one line, when it has become twice as long as that and LOOSE_BYTES, or
    when it may end in half a line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unsaved: list[str] = []
        self._gone = Gone()
        self.numbers = Ranges()
        try:
            text = path.read_text("ascii", errors="replace")
        except FileNotFoundError:
            text = ""
        whole = text[: text.rfind("\n") + 1]
        for line in whole.splitlines():
            words = line.split()
            if len(words) == 3 and line.isascii() and words[0].isdecimal() and words[1].isdecimal():
                self._know(int(words[0]), int(words[1]), words[2])
        self._sized(len(text))
        self._torn = len(whole) < len(text)

    @property
    def all(self) -> list[tuple[int, int, str]]:
        """(first, last, why), in order of numbers."""
        return self._gone.all()

    def _know(self, first: int, last: int, why: str) -> None:
        self._gone.add(first, last, why)
        self.numbers.add(first, last)

    def add(self, first: int, last: int, why: str) -> None:
        """Give these numbers up."""
        self._know(first, last, why)
        self._unsaved.append(f"{first} {last} {why}\n")

    def save(self) -> None:
        """Make durable what is not yet; raises OSError, and then the next one tries it again."""
        if not (count := len(self._unsaved)):
            return
        if not self._torn:
            lines = "".join(self._unsaved[:count])
            self._torn = True
            with open(self._path, "a", encoding="ascii") as f:
                f.write(lines)
                f.flush()
                os.fsync(f.fileno())
            self._torn = False
            self.size += len(lines)
        if self._torn or self.size > self._most:
            text = "".join(f"{a} {b} {why}\n" for a, b, why in self.all)
            write_whole(self._path, text)
            self._sized(len(text))
            self._torn = False
        del self._unsaved[:count]  # what another thread has added meanwhile stays

    def _sized(self, size: int) -> None:
        self.size = size
        self._most = 2 * size + LOOSE_BYTES
