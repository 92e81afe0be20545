"""What a privacy mask covers is in nothing that leaves, and the frame says that it was altered."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.errors import ConfigError, PermanentError
from agent.frame import Codec, Frame
from agent.media import clip, wire
from agent.privacy import Painted, PrivacySettings, paint

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
ISLAND = ((0.31, 0.27), (0.73, 0.35), (0.55, 0.81))


def picture(seed: int, size: tuple[int, int] = (64, 128), channels: int = 3) -> NDArray[Any]:
    shape = (*size, channels) if channels > 1 else size
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def coded(image: NDArray[Any], *options: int) -> bytes:
    return cv2.imencode(".jpg", image, list(options))[1].tobytes()


def decoded(data: bytes) -> NDArray[Any]:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_covered_changes_no_byte_of_what_leaves(channels: int) -> None:
    one = picture(1, channels=channels)
    other = one.copy()
    # Up to x = 48: whole blocks of the coder, so that the pictures are the same outside the mask (x < 64).
    other[:, :48] = picture(2, channels=channels)[:, :48]
    assert coded(one) != coded(other)
    assert paint(coded(one), (LEFT,)) == paint(coded(other), (LEFT,))


def test_an_outline_aslant_is_black_to_its_edge() -> None:
    shown = decoded(paint(coded(np.full((120, 160), 255, np.uint8)), (ISLAND,)))
    area = np.zeros((120, 160), np.uint8)
    cv2.fillPoly(area, [np.array([(round(x * 160), round(y * 120)) for x, y in ISLAND], np.int32)], 1)
    assert shown[area > 0].max() < 60


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
@pytest.mark.parametrize("size", [(16, 16), (97, 131), (480, 640)])
def test_every_kind_of_jpeg_is_painted(options: tuple[int, ...], size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 255, np.uint8)
    shown = decoded(paint(coded(image, *options), (LEFT,)))
    assert shown.shape == image.shape
    assert shown[:, : size[1] // 2 - 8].max(initial=0) <= 40
    assert shown[:, size[1] // 2 + 18 :].min(initial=255) >= 215


def test_a_thumbnail_in_the_header_does_not_survive() -> None:
    data = coded(picture(3))
    note = b"Exif\x00\x00" + b"THE SECRET THUMBNAIL"
    with_thumb = data[:2] + b"\xff\xe1" + (len(note) + 2).to_bytes(2, "big") + note + data[2:]
    assert b"SECRET" not in paint(with_thumb, (LEFT,))


@dataclass
class Given:
    """A source that has these frames."""

    frames: list[Frame]
    label: str = "given"
    seen: list[Frame] = field(default_factory=list)

    async def run(self, publish: Callable[[Frame], None]) -> None:
        for frame in self.frames:
            publish(frame)


def frame(data: bytes, index: int = 0, codec: Codec = Codec.JPEG) -> Frame:
    return Frame(codec, data, True, index, index, index)


def test_painted_frames_are_marked_in_clips_and_live_and_broken_ones_are_withheld() -> None:
    good = coded(picture(4))
    source = Painted(
        Given([frame(good), frame(b"\xff\xd8\xff broken", 1), frame(good, 2)]), PrivacySettings(masks=(LEFT,))
    )
    out: list[Frame] = []
    asyncio.run(source.run(out.append))
    assert [f.index for f in out] == [0, 2]
    assert source.withheld == 1
    assert all(f.altered and f.data != good for f in out)
    assert [e.flags & clip.ALTERED for e in clip.entries(clip.pack(tuple(out)))] == [clip.ALTERED] * 2
    assert not any(e.flags & clip.ALTERED for e in clip.entries(clip.pack((replace(out[0], altered=False),))))
    assert wire.pack_live(out[0])[3] == wire.KEY | wire.ALTERED


def test_a_camera_without_jpegs_is_refused_not_shown() -> None:
    out: list[Frame] = []
    with pytest.raises(PermanentError, match="need a camera that sends JPEGs, not H264"):
        asyncio.run(Painted(Given([frame(b"x", codec=Codec.H264)]), PrivacySettings(masks=(LEFT,))).run(out.append))
    assert not out


def test_masks_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"masks\[0\]: point 2"):
        PrivacySettings(masks=(((0, 0), (2, 0), (1, 1)),))
