"""Questions to the archive: events, newest first, and the items that they are made of."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.clock import Clock
from agent.frame import Codec, ItemType
from agent.server.archive import DAY_NS, Archive
from agent.server.index import Index

AMONG = "camera IN (SELECT value FROM json_each(?))"
CURSOR = re.compile(r"(-?\d{1,19})-(\d{1,18})\Z")
SILENT_NS = 20_000_000_000
_PLAIN = (
    *("id", "camera", "spool", "number", "at_ns", "first_ns", "last_ns", "end_ns", "score", "peak"),
    *("reason", "follows", "why", "frames", "clips", "bytes"),
)


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item's row; `path` is where its original bytes are.

    A clip of H.264 or H.265 knows the indices of its frames and of the keyframe that its first one leans on.
    """

    camera: str
    spool: str
    seq: int
    type: ItemType
    event: int
    wall_ns: int
    sha256: bytes
    path: Path
    bytes: int
    codec: Codec = Codec.JPEG
    first_index: int | None = None
    last_index: int | None = None
    key_index: int | None = None

    @property
    def leans(self) -> bool:
        """It does not start with a keyframe: its group began in an item before it."""
        return self.key_index is not None and self.first_index is not None and self.key_index < self.first_index

    def holds(self, index: int) -> bool:
        return (
            self.first_index is not None
            and self.last_index is not None
            and self.first_index <= index <= self.last_index
        )

    @property
    def url(self) -> str:
        return f"/api/v1/cameras/{self.camera}/items/{self.spool}-{self.seq}"


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event's row. `state` is `open`, `closed`, or `cut` (its closing record did not come, nor any item)."""

    id: int
    camera: str
    spool: str
    number: int
    state: str
    at_ns: int
    first_ns: int
    last_ns: int
    end_ns: int | None
    score: float
    peak: float
    reason: str
    boxes: list[list[float]]
    follows: int
    why: str
    frames: int
    clips: int
    bytes: int
    kept: bool
    thumb: tuple[int, int, int] | None

    @property
    def cursor(self) -> str:
        return f"{self.at_ns}-{self.id}"

    def as_json(self) -> dict[str, Any]:
        """What the API and the page's stream say of an event; times in milliseconds UTC, lengths in seconds."""
        end_ns = self.end_ns or self.last_ns
        thumb = f"/api/v1/events/{self.id}/thumb.jpg?v={self.thumb[0]}-{self.thumb[1]}" if self.thumb else None
        return {
            "id": self.id,
            "camera": self.camera,
            "number": self.number,
            "state": self.state,
            "start_ms": self.at_ns / 1e6,
            "end_ms": end_ns / 1e6,
            "length_s": round(max(0, end_ns - self.at_ns) / 1e9, 1),
            "peak": self.peak,
            "reason": self.reason,
            "boxes": self.boxes,
            "why": self.why,
            "follows": self.follows,
            "frames": self.frames,
            "clips": self.clips,
            "bytes": self.bytes,
            "thumb": thumb,
            "cursor": self.cursor,
            "kept": self.kept,
        }


class Catalog:
    """Reads the archive for pages and programs; every answer is bounded."""

    def __init__(self, archive: Archive, clock: Clock) -> None:
        self._archive = archive
        self._clock = clock

    @property
    def index(self) -> Index:
        """The index that it asks, for what else is kept there."""
        return self._archive.index

    async def events(self, cameras: list[str], limit: int = 50, before: str | None = None) -> list[StoredEvent]:
        """Newest first; `before` is the `cursor` of the last one seen. Raises ValueError for another text."""
        where, args = [AMONG], list[Any]([json.dumps(cameras)])
        if before is not None:
            at_ns, id_ = _cursor(before)
            where.append("(at_ns, id) < (?, ?)")
            args += [at_ns, id_]
        sql = f"SELECT * FROM events WHERE {' AND '.join(where)} ORDER BY at_ns DESC, id DESC LIMIT ?"
        rows = await self._all(sql, (*args, max(1, min(limit, 500))))
        return [self._event(row) for row in rows]

    async def event(self, id_: int) -> StoredEvent | None:
        rows = await self._all("SELECT * FROM events WHERE id=?", (id_,))
        return self._event(rows[0]) if rows else None

    async def event_of(self, camera: str, spool: str, number: int) -> StoredEvent | None:
        rows = await self._all("SELECT * FROM events WHERE camera=? AND spool=? AND number=?", (camera, spool, number))
        return self._event(rows[0]) if rows else None

    async def running(self, camera: str) -> StoredEvent | None:
        """The camera's newest event when it is going on now."""
        newest = await self.events([camera], 1)
        return newest[0] if newest and newest[0].state == "open" else None

    async def clips(self, event: StoredEvent) -> list[StoredItem]:
        rows = await self._all(
            "SELECT * FROM items WHERE camera=? AND spool=? AND event=? AND type=? ORDER BY seq LIMIT 20000",
            (event.camera, event.spool, event.number, int(ItemType.CLIP)),
        )
        return [self._item(row) for row in rows]

    async def closing(self, event: StoredEvent) -> bytes | None:
        """The event's last record (docs/protocol.md) as the agent wrote it; None where it has none (any more)."""
        rows = await self._all(
            "SELECT * FROM items WHERE camera=? AND spool=? AND event=? AND type=? ORDER BY seq DESC LIMIT 1",
            (event.camera, event.spool, event.number, int(ItemType.EVENT)),
        )
        return await self.content(self._item(rows[0])) if rows else None

    async def lead(self, item: StoredItem) -> list[StoredItem]:
        """What `item` leans on: the clips before it, from the one its group began in; empty where that is gone."""
        rows = await self._all(
            "SELECT * FROM items WHERE camera=? AND spool=? AND type=? AND seq<? AND first_index IS NOT NULL"
            " ORDER BY seq DESC LIMIT 500",
            (item.camera, item.spool, int(ItemType.CLIP), item.seq),
        )
        found: list[StoredItem] = []
        for before in map(self._item, rows):
            found.append(before)
            if item.key_index is not None and before.holds(item.key_index):
                return found[::-1]
        return []

    async def stills(self, camera: str, limit: int = 50) -> list[StoredItem]:
        """The newest stills, newest first."""
        rows = await self._all(
            "SELECT * FROM items WHERE camera=? AND type=? ORDER BY wall_ns DESC, id DESC LIMIT ?",
            (camera, int(ItemType.STILL), max(1, min(limit, 500))),
        )
        return [self._item(row) for row in rows]

    async def item(self, camera: str, spool: str, seq: int) -> StoredItem | None:
        rows = await self._all("SELECT * FROM items WHERE camera=? AND spool=? AND seq=?", (camera, spool, seq))
        return self._item(rows[0]) if rows else None

    async def thumb(self, event: StoredEvent) -> bytes | None:
        """A JPEG of the event exactly as the camera sent it, or None when there is none (any more)."""
        if event.thumb is None:
            return None
        seq, start, length = event.thumb
        item = await self.item(event.camera, event.spool, seq)
        return await self.content(item, start, length) if item else None

    async def content(self, item: StoredItem, start: int = 0, length: int | None = None) -> bytes | None:
        """The item's original bytes from `start`; None when retention was faster."""
        size = item.bytes - start if length is None else length
        return await asyncio.to_thread(_pread, item.path, start, size)

    async def totals(self, cameras: list[str]) -> tuple[int, int]:
        """(events, bytes) of these cameras."""
        sql = (
            f"SELECT (SELECT count(*) FROM events WHERE {AMONG}),"
            f" (SELECT COALESCE(SUM(bytes), 0) FROM items WHERE {AMONG})"
        )
        names = json.dumps(cameras)
        rows = await self._all(sql, (names, names))
        return int(rows[0][0]), int(rows[0][1])

    async def stored(self, camera: str, quota_bytes: int | None) -> dict[str, Any]:
        """What the camera's recordings take, and for how many days there is room at the rate of the last day."""
        since = self._clock.wall_ns() - DAY_NS
        rows = await self._all(
            "SELECT COALESCE(SUM(bytes), 0), count(*), COALESCE(SUM(CASE WHEN stored_ns>? THEN bytes END), 0),"
            " (SELECT count(*) FROM events WHERE camera=?) FROM items WHERE camera=?",
            (since, camera, camera),
        )
        held, items, day, events = (int(v) for v in rows[0])
        room = min(self._archive.room_bytes(), quota_bytes - held if quota_bytes else 2**62)
        if self._archive.max_bytes is not None:
            total = await self._all("SELECT COALESCE(SUM(bytes), 0) FROM items", ())
            room = min(room, self._archive.max_bytes - int(total[0][0]))
        days = round(max(0, room) / day, 1) if day else None
        return {"bytes": held, "items": items, "events": events, "bytes_a_day": day, "days_left": days}

    async def _all(self, sql: str, args: tuple[Any, ...]) -> list[sqlite3.Row]:
        query: Callable[[sqlite3.Connection], list[sqlite3.Row]] = lambda conn: conn.execute(sql, args).fetchall()  # noqa: E731
        return await self._archive.index.read(query)

    def _item(self, row: sqlite3.Row) -> StoredItem:
        type_ = ItemType(row["type"])
        camera, spool, seq = row["camera"], row["spool"], row["seq"]
        path = self._archive.path(camera, spool, seq, type_)
        plain = (row["event"], row["wall_ns"], row["sha256"], path, row["bytes"])
        indices = (row["first_index"], row["last_index"], row["key_index"])
        return StoredItem(camera, spool, seq, type_, *plain, Codec(row["codec"]), *indices)

    def _event(self, row: sqlite3.Row) -> StoredEvent:
        state = row["state"]
        if state != "closed":
            state = "cut" if self._clock.wall_ns() - row["touched_ns"] > SILENT_NS else "open"
        thumb = None
        if row["thumb_seq"] is not None:
            thumb = (row["thumb_seq"], row["thumb_start"], row["thumb_length"])
        plain = {k: row[k] for k in _PLAIN}
        kept = bool(row["kept"])
        return StoredEvent(**plain, state=state, boxes=json.loads(row["boxes"]), kept=kept, thumb=thumb)

    async def keep(self, event: StoredEvent, kept: bool) -> StoredEvent:
        """Mark the event so that retention passes over it, or not any more."""
        args = (int(kept), event.id)
        await self._archive.index.write(
            lambda tx: tx.conn.execute("UPDATE events SET kept=? WHERE id=?", args).rowcount
        )
        return replace(event, kept=kept)


def _cursor(text: str) -> tuple[int, int]:
    match = CURSOR.match(text)
    if match is None or abs(int(match[1])) >= 2**63:
        raise ValueError(f"no such place in the list: '{text[:60]}'")
    return int(match[1]), int(match[2])


def _pread(path: Path, start: int, size: int) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return os.pread(fd, size, start)
    finally:
        os.close(fd)
