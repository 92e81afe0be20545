"""How much memory the unfinished uploads of an account may take: one household cannot take that of all."""

from __future__ import annotations

import asyncio
from collections import Counter

from agent.memory import trim

MOST_BYTES = 24 * 1024 * 1024
BIG_BYTES = 1024 * 1024
TIDY_S = 1.0


class Room:
    """What the uploads of each account hold together."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self.held: Counter[int] = Counter()
        self._tidying = False

    def share(self, account: int) -> Share:
        """For an upload that begins, or something else that goes on holding bytes."""
        return Share(self, account)

    def tidy(self) -> None:
        """Give what was big back to the system, soon: the upload's own frames have it in their hands until they end."""
        if not self._tidying:
            self._tidying = True
            asyncio.get_running_loop().call_later(TIDY_S, self._tidy)

    def _tidy(self) -> None:
        self._tidying = False
        trim()


class Share:
    """What one upload holds; a context manager that gives it back."""

    __slots__ = ("_account", "_room", "_size")

    def __init__(self, room: Room, account: int) -> None:
        self._room = room
        self._account = account
        self._size = 0

    def grow(self, size: int) -> bool:
        """It holds so many bytes now; False where that is more than before, and the account's uploads hold too much."""
        more, self._size = size - self._size, size
        held = self._room.held
        held[self._account] += more
        if not held[self._account]:
            del held[self._account]
        return more <= 0 or self.fits()

    def fits(self) -> bool:
        """Whether the account's uploads hold no more than they may; one that is alone may be as big as it is."""
        held = self._room.held[self._account]
        return held <= self._room.most_bytes or held == self._size

    def shrink(self, by: int) -> None:
        """So many bytes of it are not held any more; all of it at most."""
        self.grow(max(0, self._size - by))

    def give_back(self) -> None:
        """It holds nothing any more."""
        big = self._size > BIG_BYTES
        self.grow(0)
        if big:
            self._room.tidy()

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()
