"""Where the pictures of all cameras come together that have no agent, and what a killed server left of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from agent.clock import Clock
from agent.server.camera import Camera
from agent.server.ingest import Intake
from agent.server.ingest.journal import RNG, take_over
from agent.server.ingest.journalfile import left_in
from agent.server.ingest.pictures import Pictures
from agent.server.ingest.scribe import Scribe
from agent.server.trouble import Trouble, seen
from agent.supervise import backoff_s

log = logging.getLogger(__name__)

LEFT_S = 60.0
ARRIVE_S = 0.5
CLOSE_S = 0.5


class Desk:
    """Every camera's `Pictures`, made when the first one comes."""

    @classmethod
    async def open(cls, intake: Intake, clock: Clock) -> Desk:
        """To be waited for before anything comes: what is in the store now was left by a killed server."""
        return cls(intake, clock, await asyncio.to_thread(left_in, intake.archive.root))

    def __init__(self, intake: Intake, clock: Clock, left: list[Path]) -> None:
        self._intake = intake
        self.room = intake.room
        self._clock = clock
        self._judges = ThreadPoolExecutor(1, thread_name_prefix="judge")
        self._scribe = Scribe(durable=intake.archive.durable)
        self._left = left
        self._of: dict[str, Pictures] = {}

    def of(self, camera: Camera) -> Pictures:
        known = self._of.get(camera.name)
        if known is None or known.camera is not camera:
            known = Pictures(camera, self._intake, self._clock, self._judges, self._scribe)
            if not camera.gone:
                self._of[camera.name] = known
        return known

    def forget(self, name: str) -> None:
        """The camera is deleted: what is open of it leads nowhere, and what its pictures took is given back."""
        self.room.tidy()
        if (known := self._of.pop(name, None)) is not None:
            known.abandon()

    async def close(self) -> None:
        """Let what is open leave while the archive takes it: else, where the disk hangs, it is for the next start."""
        closing = {asyncio.ensure_future(p.close()) for p in self._of.values()}
        for task in closing:
            task.add_done_callback(seen)
        while closing:
            stored = self._intake.archive.stored
            _, closing = await asyncio.wait(closing, timeout=CLOSE_S)
            if stored == self._intake.archive.stored:
                break
        if closing:
            log.warning("the disk hangs: pictures that were answered are left to the next start")
            for task in closing:
                task.cancel()
            for pictures in self._of.values():
                pictures.leave()
        self._judges.shutdown(wait=True)
        await self._scribe.close()

    async def arrived(self) -> None:
        """Wait until what was answered is in the archive, on a slow disk only for a moment."""
        if pending := [pictures.settled() for pictures in self._of.values() if pictures.pending]:
            with suppress(TimeoutError):
                async with asyncio.timeout(ARRIVE_S):
                    await asyncio.gather(*pending)

    async def take_over(self, find: Callable[[str], Camera | None]) -> None:
        """Make clips of the journals that a killed server left; `find` knows a camera by its name."""
        trouble, failures = Trouble(log), 0
        while self._left:
            why = {path: said for path in self._left if (said := await self._keeps(path, find(path.parts[-3])))}
            self._left = list(why)
            if why:
                failures += 1
                trouble.tell(f"pictures that a server before left wait: {next(iter(why.values()))}")
                await asyncio.sleep(backoff_s(failures, RNG, LEFT_S))

    async def _keeps(self, path: Path, camera: Camera | None) -> str:
        """Why a file is not taken over yet, "" for nothing."""
        if camera is None:
            return ""  # it is being erased, and this with it
        try:
            taken = await take_over(path, partial(self._intake.take, camera, verified=True))
            return "" if taken else "the archive takes none now"
        except FileNotFoundError:
            return ""
        except OSError as e:
            return f"{path}: {e.strerror}"
