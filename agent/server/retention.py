"""What goes when: by age, by quota, and before the disk is full; never what somebody marked to keep."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.clock import Clock
from agent.frame import ItemType
from agent.server.archive import DAY_NS, Archive
from agent.server.camera import Camera

log = logging.getLogger(__name__)

BATCH = 500
HEAD_NS = 5_000_000_000
LOW_BYTES = 192 * 1024 * 1024
LOW_SHARE = 0.02
FROM = (
    "FROM items i LEFT JOIN events e ON e.camera=i.camera AND e.spool=i.spool AND e.number=i.event"
    " WHERE COALESCE(e.kept, 0)=0"
)
WORTH = (
    f"CASE WHEN i.type={int(ItemType.STILL)} THEN 0"
    f" WHEN i.type={int(ItemType.CLIP)} AND i.wall_ns > e.at_ns + {HEAD_NS} THEN 1 ELSE 2 END"
)

Disk = Callable[[Path], tuple[int, int]]


def disk(path: Path) -> tuple[int, int]:
    """(total, free) bytes of the disk that the path is on."""
    usage = shutil.disk_usage(path)
    return usage.total, usage.free


@dataclass(frozen=True, slots=True)
class Limits:
    """The server's: days for everything and for single stills (None: the same), and bytes in all."""

    days: float
    stills_days: float | None = None
    max_bytes: int | None = None


class Retention:
    """Sweeps the archive. When bytes are short the least worth goes first: stills, then what follows the first
    seconds of an event, then those; of each the oldest.

    `refused` is set when the archive had to refuse an item; the sweep then does not wait for its turn.
    """

    def __init__(
        self, archive: Archive, clock: Clock, limits: Limits, cameras: Callable[[], list[Camera]], disk: Disk = disk
    ) -> None:
        self._archive = archive
        self._clock = clock
        self._limits = limits
        self._cameras = cameras
        self._disk = disk

    async def run(self, every_s: float) -> None:
        """Sweep now and then, for ever."""
        while True:
            try:
                if gone := await self.sweep():
                    log.debug("retention: %d items went", gone)
                await asyncio.to_thread(self._archive.keep_ballast)
            except (OSError, sqlite3.Error) as e:
                log.warning("retention in %s: %s", self._archive.root, e)
            self._archive.full.clear()
            try:
                async with asyncio.timeout(every_s):
                    await self._archive.full.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(1)

    async def sweep(self) -> int:
        """All rules once; returns how many items went."""
        gone = await self._by_age()
        for camera in self._cameras():
            if (quota := camera.settings.quota_bytes) is not None:
                gone += await self._down_to(quota, "AND i.camera=?", (camera.name,))
        if self._limits.max_bytes is not None:
            gone += await self._down_to(self._limits.max_bytes, "", ())
        return gone + await self._before_full()

    async def _by_age(self) -> int:
        gone, others = 0, list[str]()
        for camera in self._cameras():
            days, stills = camera.settings.retention_days, camera.settings.stills_days
            if days is not None or stills is not None:
                others.append(camera.name)
                days = min(days or self._limits.days, self._limits.days)
                gone += await self._older(days, stills or self._limits.stills_days, "AND i.camera=?", (camera.name,))
        hole = ",".join("?" * len(others))
        return gone + await self._older(
            self._limits.days, self._limits.stills_days, f"AND i.camera NOT IN ({hole})", tuple(others)
        )

    async def _older(self, days: float, stills_days: float | None, where: str, args: tuple[Any, ...]) -> int:
        now = self._clock.wall_ns()
        old = f"{where} AND i.stored_ns<?"
        gone = await self._delete_all(old, (*args, now - round(days * DAY_NS)))
        if stills_days is not None and stills_days < days:
            still = f"{old} AND i.type={int(ItemType.STILL)}"
            gone += await self._delete_all(still, (*args, now - round(stills_days * DAY_NS)))
        return gone

    async def _delete_all(self, where: str, args: tuple[Any, ...]) -> int:
        gone = 0
        sql = f"SELECT i.id {FROM} {where} ORDER BY i.stored_ns LIMIT {BATCH}"
        while rows := await self._read(sql, args):
            gone += await self._archive.delete([row[0] for row in rows])
        return gone

    async def _down_to(self, limit_bytes: int, where: str, args: tuple[Any, ...]) -> int:
        """Delete the least worth until these items take no more than that."""
        held = await self._read(f"SELECT COALESCE(SUM(i.bytes), 0) FROM items i WHERE 1 {where}", args)
        return await self._free(held[0][0] - limit_bytes, where, args)

    async def _free(self, want_bytes: int, where: str, args: tuple[Any, ...]) -> int:
        gone = 0
        sql = f"SELECT i.id, i.bytes {FROM} {where} ORDER BY {WORTH}, i.stored_ns, i.id LIMIT {BATCH}"
        while want_bytes > 0 and (rows := await self._read(sql, args)):
            ids = []
            for row in rows:
                if want_bytes <= 0:
                    break
                ids.append(row["id"])
                want_bytes -= row["bytes"]
            gone += await self._archive.delete(ids)
        return gone

    async def _before_full(self) -> int:
        """When the disk is nearly at the point where items are refused: make room, and say so."""
        total, free = self._disk(self._archive.root)
        reserve = min(LOW_BYTES, round(total * LOW_SHARE))
        if free >= self._archive.min_free_bytes + reserve:
            return 0
        gone = await self._free(self._archive.min_free_bytes + 2 * reserve - free, "", ())
        level = logging.WARNING if gone else logging.DEBUG
        log.log(level, "%s: %d MB free; %d of the oldest items had to go", self._archive.root, free // 10**6, gone)
        return gone

    async def _read(self, sql: str, args: tuple[Any, ...]) -> Sequence[sqlite3.Row]:
        rows: list[sqlite3.Row] = await self._archive.index.read(lambda conn: conn.execute(sql, args).fetchall())
        return rows
