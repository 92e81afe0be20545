"""Questions to the archive: events, newest first, and the items that they are made of."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from agent.clock import Clock
from agent.frame import Codec, Frame, ItemType
from agent.media import clip
from agent.server.archive import DAY_NS, Archive
from agent.server.camera import nothing
from agent.server.index import Below, From, Index, Match, OneOf, Place, Rows
from agent.server.index.rows import EventRow, ItemRow

T = TypeVar("T")
MAX_CLIPS, MAX_LEAD, MAX_LIST = 20_000, 500, 500
DELETED_AT_ONCE = 500
CURSOR = re.compile(r"(-?[0-9]{1,19})-([0-9]{1,18})\Z")
PLACE = re.compile(r"(-?[0-9]{1,19})-([0-9a-f]{16})-([0-9]{1,19})\Z")
SILENT_NS = 20_000_000_000
_PLAIN = (
    *("id", "camera", "spool", "number", "at_ns", "first_ns", "last_ns", "end_ns", "score", "peak"),
    *("reason", "follows", "why", "frames", "clips", "bytes", "kept"),
)


_COLUMNS = attrgetter(*(f.name for f in fields(ItemRow)))


@dataclass(frozen=True, slots=True)
class StoredItem(ItemRow):
    """An item's row; `path` is where its original bytes are."""

    path: Path = field(kw_only=True)

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
    def cursor(self) -> str:
        return f"{self.wall_ns}-{self.spool}-{self.seq}"

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
    """Reads the archive for pages and programs; every answer is bounded.

    `arrived` is waited for by whatever may tell of new pictures: who uploads and then looks sees what was answered.
    """

    def __init__(self, archive: Archive, clock: Clock) -> None:
        self._archive = archive
        self._clock = clock
        self.arrived: Callable[[], Awaitable[None]] = nothing

    @property
    def index(self) -> Index:
        """The index that it asks, for what else is kept there."""
        return self._archive.index

    async def events(self, cameras: list[str], limit: int = 50, before: str | None = None) -> list[StoredEvent]:
        """Newest first; `before` is the `cursor` of the last one seen. Raises ValueError for another text."""
        among, place = OneOf(tuple(cameras)), None if before is None else _cursor(before)
        rows = await self._read(lambda r: r.events.newest(max(1, min(limit, MAX_LIST)), place, camera=among))
        return [self._event(row) for row in rows]

    async def event(self, id_: int) -> StoredEvent | None:
        row = await self._read(lambda r: r.events.get(id=id_))
        return self._event(row) if row else None

    async def event_of(self, camera: str, spool: str, number: int) -> StoredEvent | None:
        row = await self.index.read(lambda r: r.events.get(camera=camera, spool=spool, number=number))
        return self._event(row) if row else None

    async def running(self, camera: str) -> StoredEvent | None:
        """The camera's newest event when it is going on now."""
        newest = await self.events([camera], 1)
        return newest[0] if newest and newest[0].state == "open" else None

    async def clips(self, event: StoredEvent) -> list[StoredItem]:
        return await self._items(MAX_CLIPS, backwards=False, **_of(event), type=ItemType.CLIP)

    async def closing(self, event: StoredEvent) -> bytes | None:
        """The event's last record (docs/protocol.md) as the agent wrote it; None where it has none (any more)."""
        found = await self._items(1, backwards=True, **_of(event), type=ItemType.EVENT)
        return await self.content(found[0]) if found else None

    async def lead(self, item: StoredItem) -> list[StoredItem]:
        """What `item` leans on: the clips before it, from the one its group began in; empty where that is gone."""
        spool = {"camera": item.camera, "spool": item.spool}
        earlier = await self._items(
            MAX_LEAD, backwards=True, **spool, type=ItemType.CLIP, seq=Below(item.seq), first_index=From(0)
        )
        found: list[StoredItem] = []
        for before in earlier:
            found.append(before)
            if item.key_index is not None and before.holds(item.key_index):
                return found[::-1]
        return []

    async def stills(self, camera: str, limit: int = 50, before: str | None = None) -> list[StoredItem]:
        """Newest first; `before` is the `cursor` of the last one seen. Raises ValueError for another text."""
        most, place = max(1, min(limit, MAX_LIST)), None if before is None else _place(before)
        rows = await self._read(lambda r: r.items.newest(most, place, camera=camera, type=ItemType.STILL))
        return [self._item(row) for row in rows]

    async def item(self, camera: str, spool: str, seq: int) -> StoredItem | None:
        row = await self.index.read(lambda r: r.items.get(camera=camera, spool=spool, seq=seq))
        return self._item(row) if row else None

    async def thumb(self, event: StoredEvent) -> bytes | None:
        """A JPEG of the event exactly as the camera sent it, or None when there is none (any more)."""
        if event.thumb is None:
            return None
        seq, start, length = event.thumb
        item = await self.item(event.camera, event.spool, seq)
        return await self.content(item, start, length) if item else None

    async def newest(self, camera: str) -> Frame | None:
        """The last picture of the camera's newest event, where that is a whole JPEG that is still there."""
        events = await self.events([camera], 1)
        clips = await self._items(1, backwards=True, **_of(events[0]), type=ItemType.CLIP) if events else []
        data = (await self.content(clips[0]) if clips else None) or b""
        whole = [e for e in clip.entries(data) if e.codec is Codec.JPEG and not e.flags & clip.TRUNCATED]
        if not whole:
            return None
        e, altered = whole[-1], bool(whole[-1].flags & clip.ALTERED)
        return Frame(e.codec, data[e.start : e.start + e.length], True, 0, e.wall_ns, e.index, altered=altered)

    async def content(self, item: StoredItem, start: int = 0, length: int | None = None) -> bytes | None:
        """The item's original bytes from `start`; None when retention was faster."""
        size = item.bytes - start if length is None else length
        return await asyncio.to_thread(_pread, item.path, start, size)

    async def totals(self, cameras: list[str]) -> tuple[int, int]:
        """(events, bytes) of these cameras."""
        among = OneOf(tuple(cameras))
        return await self._read(lambda r: (r.events.count(camera=among), r.items.used(camera=among)[1]))

    async def stored(self, camera: str, quota_bytes: int | None) -> dict[str, Any]:
        """What the camera's recordings take, and for how many days there is room at the rate of the last day."""
        lately, limit = From(self._clock.wall_ns() - DAY_NS + 1), self._archive.max_bytes

        def read(rows: Rows) -> tuple[int, int, int, int, int]:
            items, held = rows.items.used(camera=camera)
            day = rows.items.used(camera=camera, stored_ns=lately)[1]
            total = rows.items.used()[1] if limit is not None else 0
            return items, held, day, total, rows.events.count(camera=camera)

        items, held, day, total, events = await self._read(read)
        room = min(self._archive.room_bytes(), quota_bytes - held if quota_bytes else 2**62)
        if limit is not None:
            room = min(room, limit - total)
        days = round(max(0, room) / day, 1) if day else None
        return {"bytes": held, "items": items, "events": events, "bytes_a_day": day, "days_left": days}

    async def keep(self, event: StoredEvent, kept: bool) -> StoredEvent:
        """Mark the event so that retention passes over it, or not any more."""

        def run(rows: Rows) -> None:
            if (row := rows.events.get(id=event.id)) is not None:
                rows.events.put(replace(row, kept=kept))

        await self.index.write(run)
        return replace(event, kept=kept)

    async def delete(self, event: StoredEvent) -> None:
        """Delete the event with its items, its links and what is still to be told of it.

        What of it comes later is another event. Raises ValueError for one that is kept or goes on.
        """
        if event.kept:
            raise ValueError("this event is kept; take the mark away first")
        if event.state == "open":
            raise ValueError("this event goes on; it can be deleted when it has ended")
        while items := await self._items(DELETED_AT_ONCE, backwards=False, **_of(event)):
            await self._archive.delete([(i.camera, i.spool, i.seq) for i in items])

        def forget(rows: Rows) -> None:
            rows.shares.remove(camera=event.camera, event=event.id)
            rows.notes.remove(camera=event.camera, spool=event.spool, number=event.number)

        await self.index.write(forget)

    async def _read(self, query: Callable[[Rows], T]) -> T:
        await self.arrived()
        return await self.index.read(query)

    async def _items(self, limit: int, *, backwards: bool = False, **where: Match) -> list[StoredItem]:
        rows = await self.index.read(lambda r: r.items.find(limit, backwards=backwards, **where))
        return [self._item(row) for row in rows]

    def _item(self, row: ItemRow) -> StoredItem:
        path = self._archive.path(row.camera, row.spool, row.seq, row.type)
        return StoredItem(*_COLUMNS(row), path=path)

    def _event(self, row: EventRow) -> StoredEvent:
        state = row.state
        if state != "closed":
            state = "cut" if self._clock.wall_ns() - row.touched_ns > SILENT_NS else "open"
        thumb = None
        if row.thumb_seq is not None and row.thumb_start is not None and row.thumb_length is not None:
            thumb = (row.thumb_seq, row.thumb_start, row.thumb_length)
        plain = {k: getattr(row, k) for k in _PLAIN}
        return StoredEvent(**plain, state=state, boxes=json.loads(row.boxes), thumb=thumb)


def _of(event: StoredEvent) -> dict[str, Match]:
    return {"camera": event.camera, "spool": event.spool, "event": event.number}


def _cursor(text: str) -> tuple[int, int]:
    match = CURSOR.match(text)
    if match is None or abs(int(match[1])) >= 2**63:
        raise ValueError(f"no such place in the list: '{text[:60]}'")
    return int(match[1]), int(match[2])


def _place(text: str) -> Place:
    match = PLACE.match(text)
    if match is None or abs(int(match[1])) >= 2**63 or int(match[3]) >= 2**63:
        raise ValueError(f"no such place in the list: '{text[:60]}'")
    return int(match[1]), match[2], int(match[3])


def _pread(path: Path, start: int, size: int) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return os.pread(fd, size, start)
    finally:
        os.close(fd)
