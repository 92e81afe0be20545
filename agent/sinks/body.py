"""What is sent, in blocks, again if need be; small, whatever its size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

BLOCK_BYTES = 64 * 1024


class Body(Protocol):
    """`blocks` may be called again, for a repeat. `on_disk`: getting a block may take its time."""

    @property
    def length(self) -> int: ...

    @property
    def on_disk(self) -> bool: ...

    def blocks(self) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class BytesBody:
    """Bytes in memory."""

    data: bytes | memoryview

    @property
    def length(self) -> int:
        return len(self.data)

    @property
    def on_disk(self) -> bool:
        return False

    def blocks(self) -> Iterator[bytes]:
        view = memoryview(self.data)
        for at in range(0, len(view), BLOCK_BYTES):
            yield bytes(view[at : at + BLOCK_BYTES])


@dataclass(frozen=True, slots=True)
class PiecesBody:
    """Bytes and stretches (offset, length) of an open file, behind each other."""

    fd: int
    pieces: tuple[bytes | tuple[int, int], ...]

    @property
    def length(self) -> int:
        return sum(len(p) if isinstance(p, bytes) else p[1] for p in self.pieces)

    @property
    def on_disk(self) -> bool:
        return True

    def blocks(self) -> Iterator[bytes]:
        """Raises OSError when the file is shorter than it was."""
        for piece in self.pieces:
            if isinstance(piece, bytes):
                if piece:
                    yield piece
                continue
            at, left = piece
            while left:
                block = os.pread(self.fd, min(left, BLOCK_BYTES), at)
                if not block:
                    raise OSError("a temporary file was cut off")
                yield block
                at, left = at + len(block), left - len(block)


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A body with something before and behind it."""

    before: bytes
    body: Body
    behind: bytes

    @property
    def length(self) -> int:
        return len(self.before) + self.body.length + len(self.behind)

    @property
    def on_disk(self) -> bool:
        return self.body.on_disk

    def blocks(self) -> Iterator[bytes]:
        yield self.before
        yield from self.body.blocks()
        yield self.behind
