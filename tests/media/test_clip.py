"""The clip container: what goes in comes out, what is damaged is refused whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.media import clip
from tests.frames import frame


@given(st.lists(st.binary(min_size=0, max_size=300), max_size=8), st.integers(0, 8))
def test_round_trip(datas: list[bytes], preroll: int) -> None:
    frames = tuple(frame(i, i / 10, d or b"\xff") for i, d in enumerate(datas))
    payload = clip.pack(frames, preroll)
    found = list(clip.entries(payload))
    assert [payload[e.start : e.start + e.length] for e in found] == [f.data for f in frames]
    assert [(e.index, e.pts_ns, e.wall_ns) for e in found] == [(f.index, f.pts_ns, f.wall_ns) for f in frames]
    assert [bool(e.flags & clip.PREROLL) for e in found] == [i < preroll for i in range(len(frames))]


@given(st.integers(1, 200))
def test_a_cut_payload_is_refused(cut: int) -> None:
    payload = clip.pack((frame(0, 0, b"a" * 100), frame(1, 1, b"b" * 100)))
    cut_at = len(payload) - cut
    if cut_at == clip.HEAD.size + 100:
        return  # a cut between two frames is a shorter clip
    if cut_at > 0:
        with pytest.raises(ValueError, match="at byte"):
            list(clip.entries(payload[:cut_at]))


@pytest.mark.parametrize(("at", "value", "message"), [(0, 3, "version 3"), (1, 77, "unknown codec 77")])
def test_what_is_unknown_is_named(at: int, value: int, message: str) -> None:
    payload = bytearray(clip.pack((frame(0, 0),)))
    payload[at] = value
    with pytest.raises(ValueError, match=message):
        list(clip.entries(bytes(payload)))


@given(st.binary(max_size=400))
def test_any_bytes_give_frames_or_an_error(data: bytes) -> None:
    try:
        for e in clip.entries(data):
            assert e.start + e.length <= len(data)
    except ValueError:
        pass
