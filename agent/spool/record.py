"""One item on disk: a head of 80 bytes with a checksum of its own, then the payload; bytes to bytes.

The head, big-endian: `CAi2`, type u8, worth u8, 0 u16, seq u64, wall_ns i64, event u32, payload length u32, SHA-256 of
the payload, the spool's 8 random bytes, the segment's number u32, CRC-32 of all this, begun with the block's number.
Records begin at multiples of BLOCK, so that what is durable is never written again.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from agent.frame import Item, ItemType, Worth

MAGIC = b"CAi2"
_BODY = struct.Struct(">4sBBHQqII32s8sI")
HEAD = struct.Struct(_BODY.format + "I")
MAX_PAYLOAD = 64 * 1024 * 1024
BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Record:
    """Where an item lies: `at` is its head's offset in the segment, the payload of `length` bytes follows.

    `spool` and `segment` tell for which file it was written: 64 bits that no camera knows, so that nothing in a
    picture can pass for a record.
    """

    at: int
    seq: int
    type: ItemType
    worth: Worth
    event: int
    wall_ns: int
    length: int
    sha256: bytes
    spool: str
    segment: int

    @property
    def start(self) -> int:
        return self.at + HEAD.size

    @property
    def end(self) -> int:
        return self.start + self.length

    @property
    def next(self) -> int:
        """Where the record behind it begins."""
        return up(self.end)


def up(size: int) -> int:
    """`size` rounded up to whole blocks."""
    return size + -size % BLOCK


def pack(item: Item, worth: Worth, segment: int, at: int) -> bytes:
    """The item's head. The checksum covers the head; the payload has its SHA-256 in it."""
    size, spool = len(item.payload), bytes.fromhex(item.spool)
    body = _BODY.pack(MAGIC, item.type, worth, 0, item.seq, item.wall_ns, item.event, size, item.sha256, spool, segment)
    return body + zlib.crc32(body, at // BLOCK).to_bytes(4, "big")


def unpack(head: bytes, at: int) -> Record | None:
    """The record whose head these 80 bytes at offset `at` are, or None when they are none or damaged."""
    if len(head) < HEAD.size or head[:4] != MAGIC:
        return None
    _, kind, worth, _, seq, wall_ns, event, length, sha256, spool, segment, crc = HEAD.unpack(head)
    if zlib.crc32(head[: _BODY.size], at // BLOCK) != crc or length > MAX_PAYLOAD:
        return None
    try:
        return Record(at, seq, ItemType(kind), Worth(worth), event, wall_ns, length, sha256, spool.hex(), segment)
    except ValueError:
        return None
