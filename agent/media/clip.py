"""The clip container: frames with a fixed head each, their bytes untouched (docs/protocol.md)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from agent.frame import Codec, Frame

HEAD = struct.Struct(">BBHIQqq")
VERSION = 1
KEY = 1
PREROLL = 2
TRUNCATED = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a frame lies in a clip payload: `start:start + length` are the camera's bytes."""

    codec: Codec
    flags: int
    start: int
    length: int
    index: int
    pts_ns: int
    wall_ns: int


def pack(frames: tuple[Frame, ...], preroll: int = 0, *, truncated: bool = False) -> bytes:
    """The payload of these frames, of which the first `preroll` precede the motion.

    `truncated`: the pictures were cut off on their way here, and no better ones will come.
    """
    parts: list[bytes] = []
    for i, f in enumerate(frames):
        flags = (KEY if f.keyframe else 0) | (PREROLL if i < preroll else 0)
        flags |= TRUNCATED if truncated else 0
        parts.append(HEAD.pack(VERSION, f.codec, flags, len(f.data), f.index, f.pts_ns, f.wall_ns))
        parts.append(f.data)
    return b"".join(parts)


def entries(payload: bytes | memoryview) -> Iterator[Entry]:
    """Walk a payload without copying; raises ValueError, naming the offset, where it is not a clip."""
    at = 0
    while at < len(payload):
        if at + HEAD.size > len(payload):
            raise ValueError(f"clip ends inside a frame head at byte {at}")
        version, codec, flags, length, index, pts_ns, wall_ns = HEAD.unpack_from(payload, at)
        if version != VERSION:
            raise ValueError(f"clip version {version} at byte {at}, expected {VERSION}")
        start = at + HEAD.size
        if start + length > len(payload):
            raise ValueError(f"clip ends inside a frame at byte {at}")
        try:
            kind = Codec(codec)
        except ValueError:
            raise ValueError(f"unknown codec {codec} at byte {at}") from None
        yield Entry(kind, flags, start, length, index, pts_ns, wall_ns)
        at = start + length
