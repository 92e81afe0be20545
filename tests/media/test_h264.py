"""NAL units, keyframes and parameter sets of real encoders' streams, and of damaged ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.frame import Codec
from agent.media import h264
from tests.videos import av, film, units

SPS = bytes.fromhex("6764001facd9405005bb011000000300100000030320f162d96001")


def test_split_finds_units_behind_both_start_codes_and_leaves_trailing_zeros_out() -> None:
    data = b"\0\0\0\1\x67ab\0\0\1\x68c\0\0\0\0\1\x65d\0\0"
    assert h264.split(data) == [b"\x67ab", b"\x68c", b"\x65d"]


@given(st.lists(st.binary(min_size=1, max_size=40).filter(lambda b: b"\0\0" not in b and b[-1]), min_size=1))
def test_annexb_and_lengths_lead_to_the_same_units(parts: list[bytes]) -> None:
    stream = b"".join(h264.START + p for p in parts)
    assert h264.to_annexb(h264.to_lengths(stream)) == stream
    assert h264.split(stream) == parts


def test_a_length_that_leads_out_of_the_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="9 bytes in a sample that has 2 left"):
        h264.to_annexb(b"\0\0\0\x09ab")


@pytest.mark.parametrize("size", [(322, 182), (640, 360), (1920, 1080)])
@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
def test_size_and_keyframes_are_those_of_the_decoder(tmp_path: Path, codec: Codec, size: tuple[int, int]) -> None:
    path = film(tmp_path / "a.mp4", 12, size=size, gop=5, codec=codec)
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        sets, _ = h264.from_header(codec, stream.codec_context.extradata)
        keys = [p.is_keyframe for p in source.demux(stream) if p.size]
    assert sets.complete and sets.size() == size
    assert [u.keyframe for u in units(path, codec)] == keys
    assert sum(keys) == 3


def test_codec_string_is_profile_constraints_level() -> None:
    sets = h264.parameter_sets(Codec.H264, h264.START + SPS + h264.START + b"\x68\xeb")
    assert sets.codec_string() == "avc1.64001f"
    assert sets.size() == (1280, 720)


def test_a_frame_that_only_has_parameter_sets_is_no_keyframe() -> None:
    assert not h264.is_keyframe(Codec.H264, h264.START + SPS)
    assert not h264.is_keyframe(Codec.H264, b"")
    assert not h264.is_keyframe(Codec.H264, b"\0\0\1")


@given(st.binary(max_size=60))
def test_any_header_gives_sets_or_an_error(data: bytes) -> None:
    for codec in (Codec.H264, Codec.H265):
        try:
            sets, _ = h264.from_header(codec, data)
            sets.size()
        except ValueError:
            pass
        h264.is_keyframe(codec, data)
