"""A journal's file: pictures behind each other, each with a head that tells whether it is whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from agent.frame import Item, ItemType
from agent.media import clip

FILL_BYTES = 4 * 1024 * 1024
NAMES = ("journal-a", "journal-b")
MAGIC = b"CAJ1"
HEAD = struct.Struct(">4sQIII")
"""Magic, the number that the clip will have, its event, bytes of the payload, CRC-32 of all this and the payload.

The payload is a clip of one picture; the clip of a file is its payloads joined. Numbers never come again within a
run, so that what an earlier filling left behind ends the file.
"""


@dataclass(frozen=True, slots=True)
class Written:
    """What a file holds: the clip that it is to become."""

    seq: int
    event: int
    payload: bytes
    pictures: int
    bytes: int
    """Of the file."""

    def item(self, camera: str, spool: str) -> Item:
        wall_ns = next(clip.entries(self.payload)).wall_ns
        digest = Item.digest(self.payload)
        return Item(camera, spool, self.seq, ItemType.CLIP, self.event, wall_ns, self.payload, digest)


def parse(data: bytes) -> Written | None:
    """The records up to the first that is torn, or of another filling; None: there is none."""
    at, seq, event = 0, 0, 0
    parts: list[memoryview] = []
    while at + HEAD.size <= len(data):
        magic, number, of, length, crc = HEAD.unpack_from(data, at)
        payload = memoryview(data)[at + HEAD.size : at + HEAD.size + length]
        if magic != MAGIC or (parts and (number, of) != (seq, event)):
            break
        if len(payload) != length or not length or crc != _crc(number, of, payload):
            break
        seq, event = number, of
        parts.append(payload)
        at += HEAD.size + length
    return Written(seq, event, b"".join(parts), len(parts), at) if parts else None


def left_in(store: Path) -> list[Path]:
    """The files of all runs in the store."""
    return [path for name in NAMES for path in (store / "items").glob(f"*/*/{name}")]


def _crc(seq: int, event: int, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(HEAD.pack(MAGIC, seq, event, len(payload), 0)))


class Half:
    """One of a journal's two files: one is filled while the other becomes a clip."""

    __slots__ = ("_idle", "broken", "event", "fd", "path", "seq", "size", "waiting")

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.broken = False  # a write failed: nothing behind it counts, and the file is not used again
        self.waiting = 0  # records on their way to the disk
        self._idle: asyncio.Future[None] | None = None
        self.begin(0, 0)

    def begin(self, seq: int, event: int) -> None:
        """Fill it anew, from its first byte."""
        self.seq, self.event, self.size = seq, event, 0

    def takes(self, event: int, length: int) -> bool:
        """Whether one more record of the event belongs into this clip."""
        return event == self.event and not self.broken and self.size + length <= FILL_BYTES

    def record(self, payload: bytes) -> bytes:
        head = HEAD.pack(MAGIC, self.seq, self.event, len(payload), _crc(self.seq, self.event, payload))
        return head + payload

    def settle(self) -> None:
        """One record is written, or never will be."""
        self.waiting -= 1
        if not self.waiting and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def written(self) -> None:
        """Wait until nothing is on its way to the disk."""
        if self.waiting:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    def read(self) -> Written | None:
        """What was written; blocks. Raises OSError."""
        found = parse(os.pread(self.fd, self.size, 0))
        return found if found and found.seq == self.seq else None


def remove(path: Path) -> None:
    """The file, and the folder of its run where that is empty."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()
