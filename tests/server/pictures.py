"""JPEGs and items made for tests; the JPEGs are real ones and all different."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from agent.frame import Codec, Frame, Item, ItemType
from agent.media import clip
from agent.outbox import MemoryOutbox
from agent.server.app import CameraServer


def jpeg(n: int, width: int = 160, height: int = 120) -> bytes:
    """A picture with a number in it."""
    picture = np.full((height, width, 3), (40 + n * 7 % 160, 90, 120), np.uint8)
    cv2.putText(picture, str(n), (8, height - 20), cv2.FONT_HERSHEY_SIMPLEX, 2, (255, 255, 255), 3)
    cv2.circle(picture, (n * 9 % width, height // 3), height // 8, (60, 180, 240), -1)
    return bytes(cv2.imencode(".jpg", picture)[1])


def frame(n: int, wall_ns: int | None = None) -> Frame:
    return Frame(Codec.JPEG, jpeg(n), True, time.monotonic_ns(), wall_ns or time.time_ns(), n)


def put_event(
    box: MemoryOutbox, number: int, start_ns: int, frames: int = 10, close: bool = True, told: bool = True
) -> list[bytes]:
    """An event as an agent sends it: its opening, its clips of three pictures, its end; returns the JPEGs.

    `told`: its end says how many pictures it has.
    """
    opened = {"event": number, "state": "open", "wall_ns": start_ns, "score": 0.06, "reason": "motion", "boxes": []}
    box.put(ItemType.EVENT, number, start_ns, json.dumps(opened).encode())
    pictures = [frame(n, start_ns + n * 100_000_000) for n in range(frames)]
    for i in range(0, frames, 3):
        group = tuple(pictures[i : i + 3])
        box.put(ItemType.CLIP, number, group[0].wall_ns, clip.pack(group))
    if close:
        end_ns = pictures[-1].wall_ns
        closed = {"event": number, "state": "closed", "wall_ns": start_ns, "end_ns": end_ns, "peak": 0.11}
        box.put(
            ItemType.EVENT,
            number,
            end_ns,
            json.dumps(closed | ({"frames": frames} if told else {}) | {"why": "quiet"}).encode(),
        )
    return [p.data for p in pictures]


def item(camera: str, spool: str, seq: int, payload: bytes, type_: ItemType = ItemType.STILL) -> Item:
    return Item(camera, spool, seq, type_, 0, time.time_ns(), payload, Item.digest(payload))


def kept(folder: Path) -> Iterator[tuple[clip.Entry, bytes]]:
    """Every picture of the clips in and below a folder, straight from the files."""
    for path in sorted(folder.rglob("*.clip")):
        data = path.read_bytes()
        for e in clip.entries(data):
            yield e, data[e.start : e.start + e.length]


async def settled(server: CameraServer) -> None:
    """Wait until the uploads that were answered are in the archive."""
    await asyncio.gather(*(pictures.settled() for pictures in server._desk._of.values()))
