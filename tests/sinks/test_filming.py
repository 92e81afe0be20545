"""Events of cameras that send H.264 or H.265 as films that others play."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from agent.frame import Codec, Frame, Item, ItemType
from agent.media import clip
from tests import videos
from tests.sinks.test_binder import AT_NS, bound, stem


def item(seq: int, frames: list[Frame]) -> Item:
    return Item("porch", "0" * 16, seq, ItemType.CLIP, 1, frames[0].wall_ns, clip.pack(tuple(frames)), b"")


@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
def test_an_event_becomes_a_film(tmp_path: Path, codec: Codec) -> None:
    source = videos.units(videos.film(tmp_path / "a.mp4", 30, codec=codec), codec)
    frames = [Frame(codec, u.data, u.keyframe, u.pts_ns, AT_NS + u.pts_ns, u.index) for u in source]
    given = [item(1, frames[:7]), item(2, frames[7:20]), item(3, frames[20:])]
    name, data, seqs = bound([given[2], given[0], given[1]], 61.0)[-1]
    assert name == stem() + ".mp4" and seqs == [3, 1, 2]
    with videos.av.open(io.BytesIO(data)) as out:
        assert len(list(out.decode(video=0))) == 30
    name, data, _ = bound(given[1:], 61.0)[-1]
    assert name.endswith(f".{codec.name.lower()}"), "a part that begins within a group stays a stream"
    assert data == b"".join(u.data for u in source[7:])
