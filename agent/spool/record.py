"""One item on disk: a head of 72 bytes with a checksum of its own, then the payload; bytes to bytes.

The head, big-endian: `CAi1`, type u8, worth u8, 0 u16, seq u64, wall_ns i64, event u32, payload length u32, the
segment's number u32, SHA-256 of the payload, CRC-32 of all this. Records begin at multiples of BLOCK, so that what is
durable is never written again. Before there was a number in it (0), each followed the one before at once.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from agent.frame import Item, ItemType, Worth

MAGIC = b"CAi1"
HEAD = struct.Struct(">4sBBHQqIII32sI")
_BODY = struct.Struct(">4sBBHQqIII32s")
MAX_PAYLOAD = 64 * 1024 * 1024
BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Record:
    """Where an item lies in its segment: `at` is its head's offset, the payload of `length` bytes follows.

    `segment` is the number of the segment that it was written to, 0 in a file of the former format.
    """

    at: int
    seq: int
    type: ItemType
    worth: Worth
    event: int
    wall_ns: int
    length: int
    segment: int
    sha256: bytes

    @property
    def start(self) -> int:
        return self.at + HEAD.size

    @property
    def end(self) -> int:
        return self.start + self.length

    @property
    def next(self) -> int:
        """Where the record behind it begins."""
        return up(self.end) if self.segment else self.end


def up(size: int) -> int:
    """`size` rounded up to whole blocks."""
    return size + -size % BLOCK


def pack(item: Item, worth: Worth, segment: int) -> bytes:
    """The item's head. The checksum covers the head; the payload has its SHA-256 in it."""
    size = len(item.payload)
    body = _BODY.pack(MAGIC, item.type, worth, 0, item.seq, item.wall_ns, item.event, size, segment, item.sha256)
    return body + zlib.crc32(body).to_bytes(4, "big")


def unpack(head: bytes | memoryview, at: int) -> Record | None:
    """The record whose head these 72 bytes are, or None when they are none or damaged."""
    if len(head) < HEAD.size or bytes(head[:4]) != MAGIC:
        return None
    _, kind, worth, _, seq, wall_ns, event, length, segment, sha256, crc = HEAD.unpack(head[: HEAD.size])
    if zlib.crc32(head[: HEAD.size - 4]) != crc or length > MAX_PAYLOAD:
        return None
    try:
        return Record(at, seq, ItemType(kind), Worth(worth), event, wall_ns, length, segment, sha256)
    except ValueError:
        return None
