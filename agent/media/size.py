"""Width and height of a frame of any codec, from its own header."""

from __future__ import annotations

from agent.frame import Codec, Frame
from agent.media import h264, jpeg


def size_of(frame: Frame) -> tuple[int, int] | None:
    """None where the frame does not tell: a broken JPEG, H.264 without its parameter sets."""
    try:
        if frame.codec is Codec.JPEG:
            info = jpeg.inspect(frame.data)
            return info.width, info.height
        return h264.parameter_sets(frame.codec, frame.data).size()
    except ValueError:
        return None
