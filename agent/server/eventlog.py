"""Keep the table of events by the items that arrive, in whichever order they do."""

from __future__ import annotations

import json
import sqlite3

from agent.frame import Codec, Item, ItemType
from agent.media import clip
from agent.server.digest import Contents, boxes, number, share

THUMB_AFTER_MOTION_NS = 1_000_000_000
THUMB_AFTER_FIRST_FRAME_NS = 3_000_000_000


def note_item(conn: sqlite3.Connection, item: Item, contents: Contents, now_ns: int) -> None:
    """Enter the item into its event's row, which begins with whatever item of it comes first."""
    walls = [f.wall_ns for f in contents.frames] or [item.wall_ns]
    key = (item.camera, item.spool, item.event)
    conn.execute(
        "INSERT INTO events (camera, spool, number, at_ns, first_ns, last_ns, touched_ns) VALUES (?,?,?,?,?,?,?)"
        " ON CONFLICT (camera, spool, number) DO UPDATE SET first_ns=min(first_ns, excluded.first_ns),"
        " last_ns=max(last_ns, excluded.last_ns), touched_ns=excluded.touched_ns,"
        " at_ns=CASE state WHEN 'unannounced' THEN min(at_ns, excluded.at_ns) ELSE at_ns END",
        (*key, min(walls), min(walls), max(walls), now_ns),
    )
    if contents.record is not None:
        _note_record(conn, key, contents.record)
    if contents.frames:
        conn.execute(
            "UPDATE events SET clips=clips+1, frames=frames+?, bytes=bytes+? WHERE camera=? AND spool=? AND number=?",
            (len(contents.frames), len(item.payload), *key),
        )
        _choose_thumb(conn, key, item.seq, contents.frames)
    if item.type is ItemType.STILL:
        whole = clip.Entry(Codec.JPEG, clip.KEY, 0, len(item.payload), 0, 0, item.wall_ns)
        _choose_thumb(conn, key, item.seq, (whole,))


def _note_record(conn: sqlite3.Connection, key: tuple[str, str, int], record: dict[str, object]) -> None:
    where = " WHERE camera=? AND spool=? AND number=?"
    wall_ns = number(record.get("wall_ns"))
    if wall_ns:
        conn.execute("UPDATE events SET at_ns=?" + where, (wall_ns, *key))
    if record["state"] == "open":
        score, reason = share(record.get("score")), str(record.get("reason", ""))[:40]
        conn.execute(
            "UPDATE events SET state=CASE state WHEN 'closed' THEN 'closed' ELSE 'open' END,"
            " score=?, peak=max(peak, ?), reason=?, boxes=?, follows=?" + where,
            (score, score, reason, json.dumps(boxes(record.get("boxes"))), number(record.get("follows")), *key),
        )
        return
    conn.execute(
        "UPDATE events SET state='closed', end_ns=?, peak=max(peak, ?), why=?" + where,
        (number(record.get("end_ns")) or None, share(record.get("peak")), str(record.get("why", ""))[:40], *key),
    )


def _choose_thumb(
    conn: sqlite3.Connection, key: tuple[str, str, int], seq: int, frames: tuple[clip.Entry, ...]
) -> None:
    row = conn.execute(
        "SELECT state, at_ns, first_ns, thumb_ns FROM events WHERE camera=? AND spool=? AND number=?", key
    ).fetchone()
    announced = row["state"] != "unannounced"
    target = row["at_ns"] + THUMB_AFTER_MOTION_NS if announced else row["first_ns"] + THUMB_AFTER_FIRST_FRAME_NS
    pictures = [f for f in frames if f.codec is Codec.JPEG]
    if not pictures:
        return
    best = min(pictures, key=lambda f: abs(f.wall_ns - target))
    if row["thumb_ns"] is not None and abs(row["thumb_ns"] - target) <= abs(best.wall_ns - target):
        return
    conn.execute(
        "UPDATE events SET thumb_seq=?, thumb_start=?, thumb_length=?, thumb_ns=?"
        " WHERE camera=? AND spool=? AND number=?",
        (seq, best.start, best.length, best.wall_ns, *key),
    )
