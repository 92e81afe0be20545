"""What the detector sees of H.264 and H.265: the decoder's own pictures, as many as its share of a core allows."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.frame import Codec, Frame
from agent.media import jpeg
from agent.motion.eye import Eye
from agent.motion.leaning import LeaningEye
from agent.sources.groups import Groups
from tests.videos import film, places, units


def frames(path: Path, codec: Codec = Codec.H264) -> list[Frame]:
    """As a source gives them."""
    groups, found = Groups(), []
    for u in units(path, codec):
        frame = groups.place(Frame(codec, u.data, u.keyframe, u.pts_ns + 10**9, u.pts_ns, u.index))
        assert frame is not None
        found.append(frame)
    return found


@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
@pytest.mark.parametrize("step", [1, 4, 13])
def test_it_sees_each_picture_it_looks_at_in_its_place(tmp_path: Path, codec: Codec, step: int) -> None:
    looked = frames(film(tmp_path / "a.mp4", 40, codec=codec), codec)[::step]
    eye = LeaningEye(share=100)
    planes = [eye.look(f) for f in looked]
    assert all(p is not None and p.shape == (240, 320) for p in planes)
    assert places([p for p in planes if p is not None]) == pytest.approx([f.index * 4 for f in looked], abs=1)
    assert eye.look(looked[-1]) is None, "nothing new"


def test_it_decodes_only_what_it_must(tmp_path: Path) -> None:
    clip = frames(film(tmp_path / "a.mp4", 40))
    eye = LeaningEye(share=100)
    eye.look(clip[3])
    eye.look(clip[35])
    assert eye.decoded == 4 + 6, "a group that nobody looked at is left out"


def test_without_a_share_it_sees_keyframes_and_nothing_else(tmp_path: Path) -> None:
    clip = frames(film(tmp_path / "a.mp4", 100))
    eye = LeaningEye(share=0)
    eye._credit_s = 0.0
    seen = [f.index for f in clip if eye.look(f) is not None]
    assert seen[1:] == list(range(10, 100, 10)) and eye.decoded <= 11


def test_after_a_short_group_that_was_left_out_the_next_is_seen(tmp_path: Path) -> None:
    clip = frames(film(tmp_path / "a.mp4", 40))
    eye = LeaningEye(share=100)
    eye.look(clip[0])
    eye._credit_s = 0.0
    eye._share = 0
    assert eye.look(clip[5]) is None and eye.look(clip[9]) is None
    eye._share, eye._credit_s = 100, 1.0
    assert eye.look(clip[9]) is None, "its beginning is gone"
    plane = eye.look(clip[12])
    assert plane is not None and places([plane]) == pytest.approx([48], abs=1)


def test_a_group_without_end_is_named_and_damage_too(tmp_path: Path) -> None:
    clip = frames(film(tmp_path / "a.mp4", 20))
    cut = Frame(Codec.H264, clip[5].data, False, clip[5].pts_ns, 0, 5, gop=5)
    with pytest.raises(ValueError, match="too long"):
        LeaningEye().look(cut)
    eye = Eye()
    with pytest.raises(ValueError, match="does not decode"):
        eye.see(Frame(Codec.H264, b"\0\0\0\1\x65" + bytes(100), True, 1, 1, 0))
    assert eye.see(clip[0]) is not None, "and goes on with the next group"


def test_the_small_stream_is_looked_at_instead(tmp_path: Path) -> None:
    small = frames(film(tmp_path / "s.mp4", 10, size=(160, 120)))[0]
    big = Frame(Codec.H264, b"not looked at", True, 5, 5, 0, small=small)
    plane = Eye().see(big)
    assert plane is not None and plane.shape == (60, 80)


def test_a_still_is_a_picture_that_says_what_it_is(tmp_path: Path) -> None:
    clip = frames(film(tmp_path / "a.mp4", 10, size=(1280, 720)))
    eye = Eye()
    assert eye.still() == b""
    eye.see(clip[0])
    data = eye.still()
    info = jpeg.inspect(data)
    assert (info.width, info.height) == (640, 360) and b"derived from h264" in data
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image.shape == (360, 640) and abs(int(image[10, 300]) - 70) < 12
