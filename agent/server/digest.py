"""Look into an item's payload without decoding a picture: is it what it says, and what does it hold?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from agent.frame import Codec, Item, ItemType
from agent.media import clip

MAX_RECORD_BYTES = 256 * 1024
MAX_NS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Contents:
    """A clip's frames, or an event's record; empty for a still."""

    frames: tuple[clip.Entry, ...] = ()
    record: dict[str, Any] | None = None


def inspect(item: Item) -> Contents:
    """Raises ValueError with one line that says why the payload is not what its type says."""
    if item.type is ItemType.CLIP:
        frames = tuple(clip.entries(item.payload))
        if not frames:
            raise ValueError("a clip without frames")
        for f in frames:
            if f.codec is not frames[0].codec:
                raise ValueError("a clip of several codecs")
            if f.index >= MAX_NS or f.gop > f.index:
                raise ValueError(f"frame {f.index} leans on one before its run")
            if f.codec is Codec.JPEG and item.payload[f.start : f.start + 2] != b"\xff\xd8":
                raise ValueError(f"frame {f.index} is not a JPEG")
        return Contents(frames)
    if item.type is ItemType.EVENT:
        return Contents(record=_record(item.payload))
    if not item.payload.startswith(b"\xff\xd8"):
        raise ValueError("a still that is not a JPEG")
    return Contents()


def _record(payload: bytes) -> dict[str, Any]:
    if len(payload) > MAX_RECORD_BYTES:
        raise ValueError(f"event record of {len(payload)} bytes")
    try:
        record = json.loads(payload)
    except (ValueError, RecursionError):
        raise ValueError("event record is not JSON") from None
    if not isinstance(record, dict) or record.get("state") not in ("open", "closed"):
        raise ValueError("event record without a state")
    return record


def text(value: object, most: int = 40) -> str:
    """An agent's words, so many letters, as they can be kept and shown: no controls, and none that turn the direction
    of what follows, which would reach beyond them. Anything else is ""."""
    return "".join(filter(str.isprintable, value[:most])) if isinstance(value, str) else ""


def share(value: object) -> float:
    """A number of a record as a share of the picture, 0..1; anything else is 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return 0.0
    return float(min(1.0, max(0.0, value)))


def number(value: object, default: int = 0) -> int:
    """A number of a record that fits the index; anything else is `default`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_NS:
        return default
    return value


def boxes(value: object) -> list[list[float]]:
    """At most 32 rectangles in shares of the picture."""
    if not isinstance(value, list):
        return []
    return [[share(v) for v in box] for box in value[:32] if isinstance(box, list) and len(box) == 4]
