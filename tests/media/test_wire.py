"""Binary messages: round trip, bounds and clear refusals."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.frame import Item, ItemType
from agent.media import wire
from tests.frames import frame


def item(payload: bytes) -> Item:
    return Item("porch", "0" * 16, 7, ItemType.CLIP, 3, 99, payload, Item.digest(payload))


@given(st.integers(0, 3 * wire.PART_BYTES + 17))
def test_an_item_in_parts_is_the_item(size: int) -> None:
    payload = bytes(i & 255 for i in range(1024)) * (size // 1024 + 1)
    payload = payload[:size]
    parts = [wire.unpack(m) for m in wire.pack_item(item(payload))]
    assert all(isinstance(p, wire.PartMessage) and len(p.data) <= wire.PART_BYTES for p in parts)
    assert b"".join(p.data for p in parts) == payload
    assert [p.offset for p in parts] == list(range(0, max(size, 1), wire.PART_BYTES))
    assert {(p.seq, p.total, p.sha256, p.event, p.wall_ns) for p in parts} == {(7, size, Item.digest(payload), 3, 99)}


def test_a_live_frame() -> None:
    f = frame(5, 1.5)
    got = wire.unpack(wire.pack_live(f))
    assert isinstance(got, wire.LiveMessage)
    assert (got.index, got.wall_ns, got.keyframe, bytes(got.data)) == (5, f.wall_ns, True, f.data)


def test_a_reader_honours_the_offset_of_the_bytes() -> None:
    message = bytearray(wire.pack_live(frame(5, 1.5)))
    struct.pack_into(">H", message, 4, 44)
    longer = bytes(message[:40]) + b"NEW!" + bytes(message[40:])
    assert bytes(wire.unpack(longer).data) == frame(5, 1.5).data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m[:10], "shorter than its head"),
        (lambda m: b"\x02" + m[1:], "version 2"),
        (lambda m: m[:1] + b"\x09" + m[2:], "unknown kind 9"),
        (lambda m: m[:2] + b"\x09" + m[3:], "unknown item type 9"),
        (lambda m: m[:4] + b"\xff\xff" + m[6:], "payload offset"),
        (lambda m: m[:4] + b"\x00\x28" + m[6:], "without its SHA-256"),
        (lambda m: m[:36] + b"\x7f\xff\xff\xff" + m[40:], "at most"),
        (lambda m: m[:32] + b"\x00\x00\xff\xff" + m[36:], "exceeds the item's"),
    ],
)
def test_what_is_wrong_is_said(change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wire.unpack(change(wire.pack_item(item(b"hello"))[0]))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_message_or_an_error(data: bytes) -> None:
    try:
        wire.unpack(data)
    except ValueError:
        pass
