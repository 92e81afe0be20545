"""H.264 and H.265 as cameras code it, made with PyAV: each picture tells its number by where its block stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from agent.frame import Codec
from agent.media import h264
from agent.media.film import Unit

av = pytest.importorskip("av", reason="NO PyAV (pip install av): H.264 is NOT tested")

ENCODERS = {Codec.H264: "libx264", Codec.H265: "libx265"}
STEP = 4


def picture(number: int, width: int, height: int) -> np.ndarray:
    """Grey with a bright block that walks."""
    image = np.full((height, width, 3), 70, np.uint8)
    x = number * STEP % (width - 40)
    image[height // 3 : height // 3 + 40, x : x + 40] = 220
    return image


def film(
    path: Path,
    count: int = 50,
    *,
    size: tuple[int, int] = (320, 240),
    fps: int = 25,
    gop: int = 10,
    b_frames: int = 0,
    codec: Codec = Codec.H264,
    still: int = 0,
    encoder: str = "",
    noise: bool = False,
) -> Path:
    """A file (its suffix says which) of `still` pictures without a change and then `count` with one.

    With `noise` they are large: nothing in them can be coded well.
    """
    options = {"bf": str(b_frames), "preset": "ultrafast", "sc_threshold": "0"}
    if codec is Codec.H265:
        options = {"preset": "ultrafast", "x265-params": f"log-level=none:bframes={b_frames}:keyint={gop}:scenecut=0"}
    with av.open(str(path), "w") as out:
        stream = out.add_stream(encoder or ENCODERS[codec], rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
        stream.gop_size = gop
        if not encoder:
            stream.options = options
        if codec is Codec.H265 and path.suffix == ".mp4":
            stream.codec_context.codec_tag = "hvc1"
        for i in range(still + count):
            array = picture(max(0, i - still), *size)
            if noise:
                array[: size[1] // 4] = np.random.default_rng(i).integers(0, 255, array[: size[1] // 4].shape)
            image = av.VideoFrame.from_ndarray(array, format="rgb24")
            out.mux(stream.encode(image))
        out.mux(stream.encode())
    return path


def units(path: Path, codec: Codec = Codec.H264) -> list[Unit]:
    """The file's access units as Annex B, parameter sets on each keyframe."""
    found: list[Unit] = []
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        sets, length_size = h264.from_header(codec, stream.codec_context.extradata)
        for packet in source.demux(stream):
            if not packet.size:
                continue
            data = h264.to_annexb(bytes(packet), length_size) if length_size else bytes(packet)
            key = h264.is_keyframe(codec, data)
            if key and not h264.parameter_sets(codec, data).complete:
                data = sets.annexb() + data
            pts_ns = round(packet.dts * packet.time_base * 1_000_000_000)
            delay_us = round((packet.pts - packet.dts) * packet.time_base * 1_000_000)
            found.append(Unit(codec, data, key, len(found), pts_ns, delay_us))
    return found


def places(images: Sequence[np.ndarray]) -> list[int]:
    """Where the block stands in each picture (grey or colour): its left edge."""
    found = []
    for image in images:
        grey = image if image.ndim == 2 else image.mean(axis=2)
        found.append(int(np.argmax(grey[grey.shape[0] // 3 + 20] > 150)))
    return found
