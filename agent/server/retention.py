"""What goes when: by age, by quota, and before the disk is full; never what somebody marked to keep."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.clock import Clock
from agent.frame import ItemType
from agent.server.archive import DAY_NS, Archive
from agent.server.camera import Camera
from agent.server.index import Below, Match, NoneOf, UnavailableError

log = logging.getLogger(__name__)

BATCH = 500
HEAD_NS = 5_000_000_000
LOW_BYTES = 192 * 1024 * 1024
LOW_SHARE = 0.02

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
            except (OSError, UnavailableError) as e:
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
        gone = await self._archive.finish_deletions() + await self._by_age()
        for camera in self._cameras():
            if (quota := camera.settings.quota_bytes) is not None:
                gone += await self._down_to(quota, camera=camera.name)
        if self._limits.max_bytes is not None:
            gone += await self._down_to(self._limits.max_bytes)
        return gone + await self._before_full()

    async def _by_age(self) -> int:
        gone, others = 0, list[str]()
        for camera in self._cameras():
            days, stills = camera.settings.retention_days, camera.settings.stills_days
            if days is not None or stills is not None:
                others.append(camera.name)
                days = min(days or self._limits.days, self._limits.days)
                gone += await self._older(days, stills or self._limits.stills_days, camera.name)
        rest = NoneOf(tuple(others))
        return gone + await self._older(self._limits.days, self._limits.stills_days, rest)

    async def _older(self, days: float, stills_days: float | None, camera: Match) -> int:
        now = self._clock.wall_ns()
        gone = await self._delete_all(camera=camera, stored_ns=Below(now - round(days * DAY_NS)))
        if stills_days is not None and stills_days < days:
            old = Below(now - round(stills_days * DAY_NS))
            gone += await self._delete_all(camera=camera, stored_ns=old, type=ItemType.STILL)
        return gone

    async def _delete_all(self, **where: Match) -> int:
        gone = 0
        while rows := await self._archive.index.read(lambda r: r.items.expendable(BATCH, head_ns=None, **where)):
            gone += await self._archive.delete([(row.camera, row.spool, row.seq) for row in rows])
        return gone

    async def _down_to(self, limit_bytes: int, **where: Match) -> int:
        """Delete the least worth until these items take no more than that."""
        _, held = await self._archive.index.read(lambda r: r.items.used(**where))
        return await self._free(held - limit_bytes, **where)

    async def _free(self, want_bytes: int, **where: Match) -> int:
        gone = 0
        while want_bytes > 0:
            keys = []
            for row in await self._archive.index.read(lambda r: r.items.expendable(BATCH, head_ns=HEAD_NS, **where)):
                if want_bytes <= 0:
                    break
                keys.append((row.camera, row.spool, row.seq))
                want_bytes -= row.bytes
            if not keys:
                break
            gone += await self._archive.delete(keys)
        return gone

    async def _before_full(self) -> int:
        """When the disk is nearly at the point where items are refused: make room, and say so."""
        total, free = self._disk(self._archive.root)
        reserve = min(LOW_BYTES, round(total * LOW_SHARE))
        if free >= self._archive.min_free_bytes + reserve:
            return 0
        gone = await self._free(self._archive.min_free_bytes + 2 * reserve - free)
        level = logging.WARNING if gone else logging.DEBUG
        log.log(level, "%s: %d MB free; %d of the oldest items had to go", self._archive.root, free // 10**6, gone)
        return gone
