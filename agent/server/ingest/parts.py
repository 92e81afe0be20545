"""Uploads that are not whole yet: a file each, beside the items; bounded, and forgotten after a day."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

BLOCK_BYTES = 256 * 1024
FORGET_S = 24 * 3600.0
PER_CAMERA = 32


class TooMany(Exception):
    """The camera has as many requests under way as it may."""


@dataclass(frozen=True, slots=True)
class Key:
    """An item's name; only names that were checked may come here."""

    camera: str
    spool: str
    seq: int


class Parts:
    """Files under `root/CAMERA`. Nothing here is promised to anybody: the whole's digest decides in the end."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: Key) -> Path:
        return self.root / key.camera / f"{key.spool}-{key.seq}.part"

    def size(self, key: Key) -> int:
        """How many bytes of the item are here; 0 for none."""
        try:
            return self.path(key).stat().st_size
        except FileNotFoundError:
            return 0

    async def append(self, key: Key, body: AsyncIterator[bytes]) -> None:
        """Add what comes, as far as it comes. Raises OSError of the disk, TooMany; what came before stays."""
        path = self.path(key)
        if not path.exists():
            self._make_room(path)
        await self._write(path, body)

    async def whole(self, key: Key, body: AsyncIterator[bytes]) -> Path:
        """All that comes, in a file of its own; the caller deletes it. Raises as `append`."""
        path = self.root / key.camera / f"{key.spool}-{key.seq}.{secrets.token_hex(4)}.put"
        self._make_room(path)
        try:
            await self._write(path, body)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def drop(self, key: Key) -> None:
        self.path(key).unlink(missing_ok=True)

    def forget(self, key: Key) -> None:
        """The camera was deleted meanwhile: what a request began of it since then goes, too."""
        self.drop(key)
        with suppress(OSError):  # it is not there, or another request's part is
            self.path(key).parent.rmdir()

    def _make_room(self, path: Path) -> None:
        """The folder, with a place free in it: what nobody continues goes, then what waits longest."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        there = sorted((entry.stat().st_mtime, entry.path) for entry in os.scandir(path.parent))
        stale = [p for at, p in there if at < time.time() - FORGET_S]
        kept = [p for _, p in there if p not in stale]
        waiting = [p for p in kept if p.endswith(".part")]
        more = len(kept) - PER_CAMERA + 1
        if more > len(waiting):
            raise TooMany
        for gone in (*stale, *waiting[: max(more, 0)]):
            os.unlink(gone)

    async def _write(self, path: Path, body: AsyncIterator[bytes]) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            async for block in _blocks(body):
                await asyncio.to_thread(_write_all, fd, block)
        finally:
            os.close(fd)

    def sweep(self, started: bool = False) -> int:
        """Delete what nobody continues; after a start also what no request can hold any more. Returns how many."""
        before = time.time() - FORGET_S
        gone = 0
        for path in self.root.glob("*/*"):
            if path.stat().st_mtime < before or (started and path.suffix == ".put"):
                path.unlink(missing_ok=True)
                gone += 1
        return gone


async def _blocks(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in few pieces; what came before an error is handed out first."""
    block = bytearray()
    try:
        async for chunk in body:
            block += chunk
            if len(block) >= BLOCK_BYTES:
                yield bytes(block)
                block.clear()
    except Exception:
        if block:
            yield bytes(block)
        raise
    if block:
        yield bytes(block)


def _write_all(fd: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(fd, view) :]
