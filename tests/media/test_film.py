"""Fragmented MP4 made of the camera's access units: what a decoder reads from it is what went in, bit for bit."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from agent.frame import Codec
from agent.media import h264
from agent.media.film import Unit, playable, whole
from tests.videos import av, film, places, units


def read(data: bytes) -> list[list[bytes]]:
    """The NAL units of each sample, as another's demuxer finds them."""
    with av.open(io.BytesIO(data)) as source:
        return [h264.split(h264.to_annexb(bytes(p))) for p in source.demux(video=0) if p.size]


@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_access_units_come_out_as_they_went_in(tmp_path: Path, codec: Codec, b_frames: int) -> None:
    source = units(film(tmp_path / "a.mp4", 45, codec=codec, b_frames=b_frames), codec)
    data = whole(source)
    assert read(data) == [h264.split(u.data) for u in source]
    with av.open(io.BytesIO(data)) as out:
        shown = list(out.decode(video=0))
    assert places([f.to_ndarray(format="gray") for f in shown]) == pytest.approx([i * 4 for i in range(45)], abs=1)
    gaps = [float(b.time - a.time) for a, b in pairwise(shown)]
    assert gaps == pytest.approx([0.04] * 44, abs=1e-3)


def test_a_film_tells_its_length_and_can_be_searched(tmp_path: Path) -> None:
    data = whole(units(film(tmp_path / "a.mp4", 100)))
    with av.open(io.BytesIO(data)) as out:
        assert out.duration == pytest.approx(4_000_000, abs=1000)
        out.seek(2_900_000)
        assert float(next(out.decode(video=0)).time) == pytest.approx(2.8, abs=0.01)


def test_a_film_begins_with_a_keyframe_and_leaves_out_what_a_gap_made_undecodable(tmp_path: Path) -> None:
    source = units(film(tmp_path / "a.mp4", 40))
    assert [u.index for u in playable(source[3:])] == list(range(10, 40))
    holed = source[:13] + source[14:]
    assert [u.index for u in playable(holed)] == [*range(13), *range(20, 40)]
    with av.open(io.BytesIO(whole(holed))) as out:
        assert [round(float(f.time), 2) for f in out.decode(video=0)][12:14] == [0.48, 0.8]


def test_a_film_ends_where_the_size_changes(tmp_path: Path) -> None:
    small = units(film(tmp_path / "a.mp4", 10))
    large = [replace(u, index=u.index + 10) for u in units(film(tmp_path / "b.mp4", 10, size=(640, 480)))]
    assert list(playable(small + large)) == small


def test_without_a_keyframe_there_is_nothing_to_play() -> None:
    with pytest.raises(ValueError, match="no keyframe"):
        whole([Unit(Codec.H264, b"\0\0\1\x41abc", False, 0, 0)])
