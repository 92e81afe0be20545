"""Keep the table of events by the items that arrive, in whichever order they do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from agent.frame import Codec, Item, ItemType
from agent.media import clip
from agent.server.digest import Contents, boxes, number, share, text
from agent.server.index import Rows
from agent.server.index.rows import EventRow

THUMB_AFTER_MOTION_NS = 1_000_000_000
THUMB_AFTER_FIRST_FRAME_NS = 3_000_000_000

Columns = dict[str, Any]
"""Of an event's row: those that are new."""


def note_item(rows: Rows, item: Item, contents: Contents, now_ns: int) -> None:
    """Enter the item into its event's row, which begins with whatever item of it comes first."""
    event = rows.events.get(camera=item.camera, spool=item.spool, number=item.event)
    if event is not None:
        rows.events.change(event, **noted(event, item, contents, now_ns))
        return
    at_ns = contents.frames[0].wall_ns if contents.frames else item.wall_ns
    begun = EventRow(item.camera, item.spool, item.event, at_ns, at_ns, at_ns, now_ns)
    rows.events.add(replace(begun, **noted(begun, item, contents, now_ns)))


def noted(event: EventRow, item: Item, contents: Contents, now_ns: int) -> Columns:
    """What is known of the event with this item, too."""
    walls = [f.wall_ns for f in contents.frames] or [item.wall_ns]
    new: Columns = {
        "at_ns": min(event.at_ns, *walls) if event.state == "unannounced" else event.at_ns,
        "first_ns": min(event.first_ns, *walls),
        "last_ns": max(event.last_ns, *walls),
        "touched_ns": now_ns,
    }
    if contents.frames:
        new["clips"] = event.clips + 1
        new["frames"] = event.frames + len(contents.frames)
        new["bytes"] = event.bytes + len(item.payload)
    if contents.record is not None:
        new |= _told(event, contents.record)
    pictures = [f for f in contents.frames if f.codec is Codec.JPEG]
    if item.type is ItemType.STILL:
        pictures = [clip.Entry(Codec.JPEG, clip.KEY, 0, len(item.payload), 0, 0, item.wall_ns)]
    if pictures:
        announced = event.state != "unannounced"
        wish_ns = event.at_ns + THUMB_AFTER_MOTION_NS if announced else new["first_ns"] + THUMB_AFTER_FIRST_FRAME_NS
        new |= _shown(event, item.seq, pictures, wish_ns)
    return new


def _told(event: EventRow, record: dict[str, object]) -> Columns:
    """What its own record says."""
    new: Columns = {"at_ns": at_ns} if (at_ns := number(record.get("wall_ns"))) else {}
    if record["state"] == "open":
        score = share(record.get("score"))
        return new | {
            "state": "closed" if event.state == "closed" else "open",
            "score": score,
            "peak": max(event.peak, score),
            "reason": text(record.get("reason")),
            "boxes": json.dumps(boxes(record.get("boxes"))),
            "follows": number(record.get("follows")),
        }
    return new | {
        "state": "closed",
        "end_ns": number(record.get("end_ns")) or None,
        "peak": max(event.peak, share(record.get("peak"))),
        "why": text(record.get("why")),
    }


def _shown(event: EventRow, seq: int, pictures: list[clip.Entry], wish_ns: int) -> Columns:
    """The picture for a small one: that nearest to a moment soon after the motion began."""
    best = min(pictures, key=lambda f: abs(f.wall_ns - wish_ns))
    if event.thumb_ns is not None and abs(event.thumb_ns - wish_ns) <= abs(best.wall_ns - wish_ns):
        return {}
    return {"thumb_seq": seq, "thumb_start": best.start, "thumb_length": best.length, "thumb_ns": best.wall_ns}


def last_seen(rows: Rows, camera: str) -> tuple[int, int]:
    """When something came from the camera last, and when its newest picture was taken; zeros where nothing did."""
    if newest := rows.events.newest(1, camera=camera):
        return newest[0].touched_ns, newest[0].last_ns
    some = rows.items.find(1, backwards=True, camera=camera)
    return (some[0].stored_ns, some[0].wall_ns) if some else (0, 0)
