"""From a frame to the small grey plane that the detector looks at, decoding as little as possible."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# OpenCV reads the limit once, when its library loads; the gate below refuses such pictures before that.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 26))

import cv2
import numpy as np

from agent.frame import Codec
from agent.media import jpeg

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.frame import Frame
    from agent.media.jpeg import Buffer

cv2.setNumThreads(1)

MIN_WIDTH = 76
"""The plane is about one to two of these wide."""

_REDUCED = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


def luma(frame: Frame) -> NDArray[np.uint8]:
    """The frame's grey plane (height × width, uint8), 76 to 151 wide unless the picture is smaller.

    A JPEG is decoded at 1:2, 1:4 or 1:8 (libjpeg's scaled inverse DCT: most of the work is never done).
    Raises ValueError for a picture over the gate's limits, or one that does not decode.
    """
    if frame.luma is not None:
        return shrink(frame.luma)
    if frame.codec is not Codec.JPEG:
        raise ValueError(f"{frame.codec.name} without a luma plane")
    return jpeg_luma(frame.data)


def jpeg_luma(data: bytes) -> NDArray[np.uint8]:
    """The small grey plane of a JPEG; raises ValueError as `luma` does."""
    info, whole = jpeg.admit(data)
    reduction = max((r for r in _REDUCED if info.width >= r * MIN_WIDTH), default=1)
    return shrink(_decoded(whole, _REDUCED[reduction]))


def picture(data: bytes) -> NDArray[np.uint8]:
    """The whole picture, height × width (grey) or × 3 (BGR) as the JPEG has it; raises ValueError as `luma` does."""
    info, whole = jpeg.admit(data)
    return _decoded(whole, cv2.IMREAD_GRAYSCALE if info.components == 1 else cv2.IMREAD_COLOR)


def _decoded(whole: Buffer, how: int) -> NDArray[np.uint8]:
    try:
        plane = cv2.imdecode(np.frombuffer(whole, np.uint8), how | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as e:
        raise ValueError(f"the JPEG does not decode ({e.code})") from None
    if plane is None:
        raise ValueError("the JPEG does not decode")
    return np.asarray(plane, np.uint8)


def shrink(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The plane reduced by the whole factor that leaves it 76 to 151 wide; itself when it is that already."""
    if plane.ndim != 2 or plane.dtype != np.uint8 or not plane.size:
        raise ValueError(f"a luma plane is height × width uint8, not {plane.dtype} {plane.shape}")
    factor = plane.shape[1] // MIN_WIDTH
    if factor < 2:
        return plane
    size = (plane.shape[1] // factor, max(1, plane.shape[0] // factor))
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8)
