"""Binary messages of the WebSocket uplink and of live view (docs/protocol.md); bytes to bytes."""

import struct
from dataclasses import dataclass

from agent.frame import Frame, Item, ItemType

SUBPROTOCOL = "camera-agent.v1"
HEAD = struct.Struct(">BBBBHHQqIIII")
VERSION = 1
LIVE, ITEM = 1, 2
KEY = 1
ALTERED = 2
PART_BYTES = 256 * 1024
MAX_ITEM_BYTES = 32 * 1024 * 1024
MAX_MESSAGE_BYTES = 1024 * 1024
MAX_LIVE_BYTES = MAX_MESSAGE_BYTES - 1024


@dataclass(frozen=True, slots=True)
class LiveMessage:
    codec: int
    keyframe: bool
    index: int
    wall_ns: int
    data: memoryview
    delay_us: int = 0


@dataclass(frozen=True, slots=True)
class PartMessage:
    type: ItemType
    seq: int
    wall_ns: int
    event: int
    sha256: bytes
    offset: int
    total: int
    data: memoryview


def pack_live(frame: Frame) -> bytes:
    n = len(frame.data)
    key = (KEY if frame.keyframe else 0) | (ALTERED if frame.altered else 0)
    head = HEAD.pack(VERSION, LIVE, frame.codec, key, HEAD.size, 0, frame.index, frame.wall_ns, 0, 0, frame.delay_us, n)
    return head + frame.data


def pack_item(item: Item) -> list[bytes]:
    """The item as messages of at most PART_BYTES each, to be sent in order."""
    total = len(item.payload)
    return [pack_part(item, at, min(at + PART_BYTES, total)) for at in range(0, max(total, 1), PART_BYTES)]


def pack_part(item: Item, start: int, end: int) -> bytes:
    """`payload[start:end]` as one message."""
    total = len(item.payload)
    head = HEAD.pack(
        VERSION, ITEM, item.type, 0, HEAD.size + 32, 0, item.seq, item.wall_ns, item.event, 0, start, total
    )
    return b"".join((head, item.sha256, memoryview(item.payload)[start:end]))


def unpack(message: bytes) -> LiveMessage | PartMessage:
    """Raises ValueError with one line that says what is wrong with the message."""
    if len(message) < HEAD.size:
        raise ValueError(f"message of {len(message)} bytes is shorter than its head")
    version, kind, what, flags, offset, _, seq, wall_ns, event, _, at, total = HEAD.unpack_from(message)
    if version != VERSION:
        raise ValueError(f"version {version}, expected {VERSION}")
    if not HEAD.size <= offset <= len(message):
        raise ValueError(f"payload offset {offset} in a message of {len(message)} bytes")
    data = memoryview(message)[offset:]
    if kind == LIVE:
        return LiveMessage(what, bool(flags & KEY), seq, wall_ns, data, at)
    if kind != ITEM:
        raise ValueError(f"unknown kind {kind}")
    if offset < HEAD.size + 32:
        raise ValueError("item without its SHA-256")
    if total > MAX_ITEM_BYTES:
        raise ValueError(f"item of {total} bytes, at most {MAX_ITEM_BYTES}")
    if at + len(data) > total:
        raise ValueError(f"part at {at} of {len(data)} bytes exceeds the item's {total}")
    try:
        item_type = ItemType(what)
    except ValueError:
        raise ValueError(f"unknown item type {what}") from None
    sha256 = bytes(message[HEAD.size : HEAD.size + 32])
    return PartMessage(item_type, seq, wall_ns, event, sha256, at, total, data)
