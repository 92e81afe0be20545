"""Keep the table of events by the items that arrive, in whichever order they do."""

from __future__ import annotations

import json
from dataclasses import replace

from agent.frame import Codec, Item, ItemType
from agent.media import clip
from agent.server.digest import Contents, boxes, number, share
from agent.server.index import Rows
from agent.server.index.rows import EventRow

THUMB_AFTER_MOTION_NS = 1_000_000_000
THUMB_AFTER_FIRST_FRAME_NS = 3_000_000_000


def note_item(rows: Rows, item: Item, contents: Contents, now_ns: int) -> None:
    """Enter the item into its event's row, which begins with whatever item of it comes first."""
    there = rows.events.get(camera=item.camera, spool=item.spool, number=item.event)
    event = noted(there, item, contents, now_ns)
    if there is None:
        rows.events.add(event)
    else:
        rows.events.put(event)


def noted(event: EventRow | None, item: Item, contents: Contents, now_ns: int) -> EventRow:
    """The event as it is known with this item, too; None: nothing was known of it."""
    walls = [f.wall_ns for f in contents.frames] or [item.wall_ns]
    first_ns, last_ns = min(walls), max(walls)
    if event is None:
        event = EventRow(item.camera, item.spool, item.event, first_ns, first_ns, last_ns, now_ns)
    event = replace(
        event,
        first_ns=min(event.first_ns, first_ns),
        last_ns=max(event.last_ns, last_ns),
        touched_ns=now_ns,
        at_ns=min(event.at_ns, first_ns) if event.state == "unannounced" else event.at_ns,
        clips=event.clips + bool(contents.frames),
        frames=event.frames + len(contents.frames),
        bytes=event.bytes + (len(item.payload) if contents.frames else 0),
    )
    if contents.record is not None:
        event = _told(event, contents.record)
    pictures = [f for f in contents.frames if f.codec is Codec.JPEG]
    if item.type is ItemType.STILL:
        pictures = [clip.Entry(Codec.JPEG, clip.KEY, 0, len(item.payload), 0, 0, item.wall_ns)]
    return _shown(event, item.seq, pictures) if pictures else event


def _told(event: EventRow, record: dict[str, object]) -> EventRow:
    """With what its own record says."""
    at_ns = number(record.get("wall_ns")) or event.at_ns
    if record["state"] == "open":
        score = share(record.get("score"))
        return replace(
            event,
            at_ns=at_ns,
            state="closed" if event.state == "closed" else "open",
            score=score,
            peak=max(event.peak, score),
            reason=str(record.get("reason", ""))[:40],
            boxes=json.dumps(boxes(record.get("boxes"))),
            follows=number(record.get("follows")),
        )
    return replace(
        event,
        at_ns=at_ns,
        state="closed",
        end_ns=number(record.get("end_ns")) or None,
        peak=max(event.peak, share(record.get("peak"))),
        why=str(record.get("why", ""))[:40],
    )


def _shown(event: EventRow, seq: int, pictures: list[clip.Entry]) -> EventRow:
    """With the best picture for a small one: soon after the motion began."""
    announced = event.state != "unannounced"
    target = event.at_ns + THUMB_AFTER_MOTION_NS if announced else event.first_ns + THUMB_AFTER_FIRST_FRAME_NS
    best = min(pictures, key=lambda f: abs(f.wall_ns - target))
    if event.thumb_ns is not None and abs(event.thumb_ns - target) <= abs(best.wall_ns - target):
        return event
    return replace(event, thumb_seq=seq, thumb_start=best.start, thumb_length=best.length, thumb_ns=best.wall_ns)
