"""How much memory the unfinished uploads of an account may take: one household cannot take that of all."""

from __future__ import annotations

import asyncio

from agent.memory import trim
from agent.server.camera import Camera

MOST_BYTES = 24 * 1024 * 1024
CAMERA_BYTES = 1024 * 1024
BIG_BYTES = 1024 * 1024
TIDY_S = 1.0


class Room:
    """What the uploads of each account hold together: 24 MiB at most, and 1 MiB for each of its cameras that uploads.

    The eldest of them may always go on: many that wait for each other's room would wait for ever.
    """

    def __init__(self, most_bytes: int = MOST_BYTES, camera_bytes: int = CAMERA_BYTES) -> None:
        self.most_bytes = most_bytes
        self.camera_bytes = camera_bytes
        self._holding: dict[int, dict[Share, None]] = {}  # of each account, the eldest first
        self._tidying = False

    @property
    def held(self) -> dict[int, int]:
        """Bytes by account."""
        return {account: sum(s.size for s in holding) for account, holding in self._holding.items()}

    def share(self, camera: Camera) -> Share:
        """For an upload that begins, or something else that goes on holding bytes."""
        return Share(self, camera)

    def note(self, share: Share) -> None:
        """It begins to hold something, or ceases to."""
        holding = self._holding.setdefault(share.account, {})
        if share.size:
            holding[share] = None
        else:
            holding.pop(share, None)
            if not holding:
                del self._holding[share.account]

    def fits(self, share: Share) -> bool:
        """Whether the share's account holds no more than it may, or this share has held something for longest."""
        holding = self._holding.get(share.account, {})
        most = self.most_bytes + self.camera_bytes * len({s.camera for s in holding})
        return sum(s.size for s in holding) <= most or share is next(iter(holding))

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

    __slots__ = ("_room", "account", "camera", "size")

    def __init__(self, room: Room, camera: Camera) -> None:
        self._room = room
        self.account = camera.account
        self.camera = camera.name
        self.size = 0

    def grow(self, size: int) -> bool:
        """It holds so many bytes now; False where that is more than before, and the account's uploads hold too much."""
        before, self.size = self.size, size
        if not before or not size:
            self._room.note(self)
        return size <= before or self.fits()

    def fits(self) -> bool:
        """Whether it may go on."""
        return self._room.fits(self)

    def shrink(self, by: int) -> None:
        """So many bytes of it are not held any more; all of it at most."""
        self.grow(max(0, self.size - by))

    def give_back(self) -> None:
        """It holds nothing any more."""
        big = self.size > BIG_BYTES
        self.grow(0)
        if big:
            self._room.tidy()

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()
