"""The words of the frame's path: codec, frame, clip, item."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Codec(IntEnum):
    """How a frame is coded; the number is the one on the wire (docs/protocol.md)."""

    JPEG = 1
    H264 = 2
    H265 = 3


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture as the camera coded it.

    `data` is exactly what the camera sent. `pts_ns` is monotonic on this machine, `wall_ns` UTC.
    `index` counts 0, 1, 2… within a run; 0 begins a run, a gap is a loss. `luma` (height × width,
    uint8) is present only where the source has it for nothing.

    H.264 and H.265 frames lean on others: `gop` is how many frames back their keyframe lies, and `prior` the
    frame before them in the same group (None: this one is a keyframe, or the group grew too large to be kept).
    `pts_ns` is when a frame's turn to be decoded comes; it is shown `delay_us` after that (0 without B-frames).
    `altered`: the bytes are not the camera's, privacy masks were painted.
    `small` is the newest frame of the same camera's second, smaller stream, where there is one.
    """

    codec: Codec
    data: bytes
    keyframe: bool
    pts_ns: int
    wall_ns: int
    index: int
    luma: NDArray[np.uint8] | None = None
    gop: int = 0
    delay_us: int = 0
    prior: Frame | None = field(default=None, repr=False, compare=False)
    altered: bool = False
    small: Frame | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in shares of the picture: x, y of the upper left corner, width, height, all 0..1."""

    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that differed and was no motion: `reason` in one word, where, how much evidence there was of how
    much wanted (the detector's units), and in which zone."""

    reason: str
    box: Box
    evidence: float = 0.0
    wanted: float = 0.0
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the detector says of one frame.

    `score` is the share of the picture that moves (0..1); `boxes` are where; `reason` is one word for
    why (`motion`) or why not (`still`, `learning`, `light`, …). `still`, where motion begins: a JPEG made of
    the picture, when the camera's own are none. `zone` is that of the largest object, `hidden` what else differed;
    `calm`: nothing did, not one pixel.
    """

    moving: bool
    score: float = 0.0
    boxes: tuple[Box, ...] = ()
    reason: str = "still"
    still: bytes = field(default=b"", repr=False, compare=False)
    zone: str = ""
    hidden: tuple[Candidate, ...] = ()
    calm: bool = False


@dataclass(frozen=True, slots=True)
class Clip:
    """Consecutive frames of one run and one event, at most a second long; the first `preroll` frames precede it."""

    event: int
    frames: tuple[Frame, ...]
    preroll: int = 0


class ItemType(IntEnum):
    """What an item's payload is; the number is the one on the wire (docs/protocol.md)."""

    STILL = 1
    CLIP = 2
    EVENT = 3

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES[self]


class Worth(IntEnum):
    """What an item is worth when space or line run out; the least goes first.

    HEAD: an event's record, pre-roll and first seconds; BODY: the rest of it.
    """

    STILL = 0
    BODY = 1
    HEAD = 2


_MEDIA_TYPES = {
    ItemType.STILL: "image/jpeg",
    ItemType.CLIP: "application/vnd.camera-agent.clip",
    ItemType.EVENT: "application/json",
}


@dataclass(frozen=True, slots=True)
class Item:
    """The unit of outbox, wire and store; (camera, spool, seq) names it for ever.

    `sha256` is of `payload`, made at capture. `event` is 0 for an item outside an event. `wall_ns` is
    the time of its first frame.
    """

    camera: str
    spool: str
    seq: int
    type: ItemType
    event: int
    wall_ns: int
    payload: bytes
    sha256: bytes

    @staticmethod
    def digest(payload: bytes) -> bytes:
        return hashlib.sha256(payload).digest()
