"""The clip container: frames with a fixed head each, their bytes untouched (docs/protocol.md)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from agent.frame import Codec, Frame

HEAD = struct.Struct(">BBHIQqq")
LEANING = struct.Struct(">II")
"""Behind the head of a frame of version 2: frames back to the keyframe, microseconds until it is shown."""
VERSION, VERSION_LEANING = 1, 2
KEY = 1
PREROLL = 2
TRUNCATED = 4
ALTERED = 8


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a frame lies in a clip payload: `start:start + length` are the camera's bytes.

    `gop` and `delay_us` as in Frame.
    """

    codec: Codec
    flags: int
    start: int
    length: int
    index: int
    pts_ns: int
    wall_ns: int
    gop: int = 0
    delay_us: int = 0


def pack(frames: tuple[Frame, ...], preroll: int = 0, *, truncated: bool = False) -> bytes:
    """The payload of these frames, of which the first `preroll` precede the motion.

    `truncated`: the pictures were cut off on their way here, and no better ones will come.
    """
    parts: list[bytes] = []
    for i, f in enumerate(frames):
        flags = (KEY if f.keyframe else 0) | (PREROLL if i < preroll else 0)
        flags |= (TRUNCATED if truncated else 0) | (ALTERED if f.altered else 0)
        version = VERSION if f.codec is Codec.JPEG else VERSION_LEANING
        parts.append(HEAD.pack(version, f.codec, flags, len(f.data), f.index, f.pts_ns, f.wall_ns))
        if version == VERSION_LEANING:
            parts.append(LEANING.pack(f.gop, f.delay_us))
        parts.append(f.data)
    return b"".join(parts)


def entries(payload: bytes | memoryview) -> Iterator[Entry]:
    """Walk a payload without copying; raises ValueError, naming the offset, where it is not a clip."""
    at = 0
    while at < len(payload):
        if at + HEAD.size > len(payload):
            raise ValueError(f"clip ends inside a frame head at byte {at}")
        version, codec, flags, length, index, pts_ns, wall_ns = HEAD.unpack_from(payload, at)
        start, gop, delay_us = at + HEAD.size, 0, 0
        if version == VERSION_LEANING:
            if start + LEANING.size > len(payload):
                raise ValueError(f"clip ends inside a frame head at byte {at}")
            gop, delay_us = LEANING.unpack_from(payload, start)
            start += LEANING.size
        elif version != VERSION:
            raise ValueError(f"clip version {version} at byte {at}, expected {VERSION} or {VERSION_LEANING}")
        if start + length > len(payload):
            raise ValueError(f"clip ends inside a frame at byte {at}")
        try:
            kind = Codec(codec)
        except ValueError:
            raise ValueError(f"unknown codec {codec} at byte {at}") from None
        yield Entry(kind, flags, start, length, index, pts_ns, wall_ns, gop, delay_us)
        at = start + length
