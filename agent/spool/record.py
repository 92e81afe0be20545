"""One item on disk: a head of 72 bytes with a checksum of its own, then the payload; bytes to bytes."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from agent.frame import Item, ItemType, Worth

MAGIC = b"CAi1"
HEAD = struct.Struct(">4sBBHQqIII32sI")
_BODY = struct.Struct(">4sBBHQqIII32s")
MAX_PAYLOAD = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Record:
    """Where an item lies in its segment: `at` is its head's offset, the payload of `length` bytes follows."""

    at: int
    seq: int
    type: ItemType
    worth: Worth
    event: int
    wall_ns: int
    length: int
    sha256: bytes

    @property
    def start(self) -> int:
        return self.at + HEAD.size

    @property
    def end(self) -> int:
        return self.start + self.length


def pack(item: Item, worth: Worth) -> bytes:
    """The item's head. The checksum covers the head; the payload has its SHA-256 in it."""
    body = _BODY.pack(MAGIC, item.type, worth, 0, item.seq, item.wall_ns, item.event, len(item.payload), 0, item.sha256)
    return body + zlib.crc32(body).to_bytes(4, "big")


def unpack(head: bytes | memoryview, at: int) -> Record | None:
    """The record whose head these 72 bytes are, or None when they are none or damaged."""
    if len(head) < HEAD.size or bytes(head[:4]) != MAGIC:
        return None
    _, kind, worth, _, seq, wall_ns, event, length, _, sha256, crc = HEAD.unpack(head[: HEAD.size])
    if zlib.crc32(head[: HEAD.size - 4]) != crc or length > MAX_PAYLOAD:
        return None
    try:
        return Record(at, seq, ItemType(kind), Worth(worth), event, wall_ns, length, sha256)
    except ValueError:
        return None
