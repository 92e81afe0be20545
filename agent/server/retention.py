"""What goes when: by age, by quota, and before the disk is full; never what somebody marked to keep."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent.clock import Clock
from agent.frame import ItemType
from agent.server.archive import DAY_NS, Archive
from agent.server.camera import Camera
from agent.server.index import Below, Match, NoneOf, UnavailableError
from agent.server.trouble import Trouble

log = logging.getLogger(__name__)

BATCH = 500
HEAD_NS = 5_000_000_000
LOW_BYTES = 192 * 1024 * 1024
LOW_SHARE = 0.02
LEAP_NS = DAY_NS
TIME = "%Y-%m-%d %H:%M"
DOUBT_NS = 3600 * 1_000_000_000

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
        self._zero_ns: int | None = None  # what the wall clock that is believed showed when the monotonic one began
        self._leap_ns = self._leapt_ns = 0  # how far ahead of that it is, and when it was noticed

    async def run(self, every_s: float) -> None:
        """Sweep now and then, for ever."""
        trouble = Trouble(log)
        while True:
            try:
                if gone := await self.sweep():
                    log.debug("retention: %d items went", gone)
                await asyncio.to_thread(self._archive.keep_ballast)
                trouble.over()
            except (OSError, UnavailableError) as e:
                trouble.tell(f"retention in {self._archive.root}: {e}")
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

    async def _doubtful(self) -> bool:
        """Whether the clock leapt ahead by a day or more within the last hour; at the start: since the newest item.

        It may be wrong now, or have been wrong when items were stored that it would take for old.
        """
        now_ns, wall_ns = self._clock.monotonic_ns(), self._clock.wall_ns()
        if self._zero_ns is None:
            newest = await self._archive.index.read(lambda rows: rows.items.newest(1))
            self._zero_ns = (newest[0].stored_ns if newest else wall_ns) - now_ns
        leap_ns = wall_ns - now_ns - self._zero_ns
        if leap_ns >= LEAP_NS:
            if abs(leap_ns - self._leap_ns) >= LEAP_NS:
                said = "the clock leapt ahead by %d days, to %s UTC: nothing goes by age for an hour"
                log.warning(said, round(leap_ns / DAY_NS), datetime.fromtimestamp(wall_ns // 10**9, UTC).strftime(TIME))
                self._leap_ns, self._leapt_ns = leap_ns, now_ns
            if now_ns - self._leapt_ns < DOUBT_NS:
                return True
        self._zero_ns, self._leap_ns = wall_ns - now_ns, 0
        return False

    async def _by_age(self) -> int:
        if await self._doubtful():
            return 0
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
