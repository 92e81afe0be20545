"""Pictures that were answered and are no clip yet: a file beside the camera's items, one write and one sync each.

A clip of its own for each picture costs a new file, its name and a transaction, each with a sync. Here a picture is
appended to a file whose blocks are mostly there already; what came within a second becomes one clip of the archive.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import threading
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from agent.frame import Frame, Item
from agent.media import clip
from agent.server.archive import Archive, Outcome
from agent.server.batches import waiting
from agent.server.ingest.journalfile import HEAD, NAMES, Half, parse, remove
from agent.server.ingest.later import Later

log = logging.getLogger(__name__)

LARGE_BYTES = 1024 * 1024
"""Such a picture is better an item of its own: it would be written twice, and its sync is the least of it."""
YOUNG_S, YOUNG_CLIP_S, CLIP_S = 2.0, 0.25, 1.0
"""As agents cut their events: short clips while one is young. Its first picture waits for no other."""
RETRY_S = 1.0
AT_ONCE = 8


class Scribe:
    """The thread that writes for all journals of a server: what waits meanwhile shares a sync of each file.

    Not `durable`: nothing is synced, and the loop writes by itself. At most AT_ONCE clips are made `together`.
    """

    def __init__(self, *, durable: bool) -> None:
        self.together = asyncio.Semaphore(AT_ONCE)
        self._durable = durable
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="journal-read")  # whoever else reads, uploads go on

    async def write(self, half: Half, record: bytes) -> bool:
        """Append the record; returns whether it is durable."""
        job = _Job(half, half.size, record, self._loop.create_future())
        half.size += len(record)
        half.waiting += 1
        if self._durable:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
                self._thread.start()
            self._jobs.put(job)
        else:
            job.write()
            self._tell([job])
        return await job.done

    async def clip(self, half: Half, camera: str, spool: str) -> Item | None:
        """What was written to the file, as an item; None: nothing. Raises OSError."""
        return await self._loop.run_in_executor(self._reader, _clip, half, camera, spool)

    def close(self) -> None:
        """Nothing may be on its way any more."""
        self._reader.shutdown(wait=True)
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        ended = False
        while not ended:
            jobs, ended = waiting(self._jobs)
            for job in jobs:
                job.write()
            for half in {job.half for job in jobs}:
                _sync(half)
            for job in jobs:
                job.well = job.well and not job.half.broken
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._tell, jobs)

    @staticmethod
    def _tell(jobs: Iterable[_Job]) -> None:
        for job in jobs:
            job.half.settle()
            if not job.done.done():
                job.done.set_result(job.well)


@dataclass(slots=True)
class _Job:
    half: Half
    at: int
    record: bytes
    done: asyncio.Future[bool]
    well: bool = False

    def write(self) -> None:
        try:
            done = os.pwrite(self.half.fd, self.record, self.at)
            while done < len(self.record):
                done += os.pwrite(self.half.fd, memoryview(self.record)[done:], self.at + done)
            self.well = True
        except OSError as e:
            _break(self.half, e)


def _clip(half: Half, camera: str, spool: str) -> Item | None:
    written = half.read()
    if written is None or (written.bytes < half.size and not half.broken):
        log.error("%s: pictures that were stored are damaged", half.path)
    return written.item(camera, spool) if written else None


def _sync(half: Half) -> None:
    if half.broken:
        return
    try:
        os.fdatasync(half.fd)
    except OSError as e:
        _break(half, e)


def _break(half: Half, e: OSError) -> None:
    half.broken = True
    log.warning("%s: %s; pictures are refused", half.path, e.strerror)


class Journal:
    """One run of one camera: pictures in, clips out.

    `number` gives a clip's number when it begins; `hand` stores it. A clip that the archive does not take now is
    tried again; two files of 4 MiB are the bound: who brings more waits until one is free.
    """

    def __init__(
        self,
        archive: Archive,
        scribe: Scribe,
        of: tuple[str, str],
        number: Callable[[], int],
        hand: Callable[[Item], Awaitable[Outcome]],
    ) -> None:
        """`of`: camera and run."""
        self._archive = archive
        self._scribe = scribe
        self._camera, self._spool = of
        self._number = number
        self._hand = hand
        self._names = list(NAMES)
        self._free: list[Half] = []
        self._filling: Half | None = None
        self._event, self._since_s = 0, 0.0
        self._due = Later(self.turn)
        self._clips: set[asyncio.Task[None]] = set()
        self._refused: list[Half] = []
        self._again = Later(self._try_again)
        self._opening = asyncio.Lock()
        self._freed = asyncio.Event()
        self._gone = False

    async def put(self, frame: Frame, event: int, *, truncated: bool) -> Outcome:
        """The picture is durable when this returns STORED; within a second or so it is in the archive."""
        payload = clip.pack((frame,), truncated=truncated)
        if not self._archive.room(len(payload)):
            return self._archive.count(Outcome.FULL)
        try:
            half = await self._half(event, HEAD.size + len(payload))
        except OSError as e:
            log.warning("%s: a picture was not stored: %s", self._camera, e)
            return self._archive.count(Outcome.FULL)
        if half is not None and not await self._scribe.write(half, half.record(payload)):
            return self._archive.count(Outcome.FULL)
        return Outcome.GONE if self._gone else Outcome.STORED

    def turn(self) -> None:
        """What came until now becomes a clip."""
        half, self._filling = self._filling, None
        if half is not None:
            self._store(half)

    @property
    def pending(self) -> bool:
        """Whether something is no clip yet, and was not refused."""
        return self._filling is not None or bool(self._clips)

    async def flush(self) -> None:
        """Wait until what came until now is in the archive, or was refused by it."""
        self.turn()
        if self._clips:
            await asyncio.wait(self._clips)

    async def close(self) -> None:
        """The same; what was refused stays for the next start."""
        self._due.end()
        await self.flush()
        self._again.end()
        for half in self._refused:
            os.close(half.fd)
        for half in self._free:
            remove(half.path)
        self._let_go()

    def abandon(self) -> None:
        """The camera is deleted, and the files with it: nothing of it goes anywhere."""
        self._gone = True
        self._due.end()
        self._again.end()
        self.turn()
        self._free += self._refused
        self._let_go()
        self._freed.set()

    def _let_go(self) -> None:
        for half in self._free:
            os.close(half.fd)
        self._free.clear()

    async def _half(self, event: int, length: int) -> Half | None:
        """A file for one more picture; waits for it. None: the camera is gone. Raises OSError."""
        while not self._gone:
            if self._filling is not None:
                if self._filling.takes(event, length):
                    return self._filling
                self.turn()
            if self._free:
                self._filling = half = self._free.pop()
                half.begin(self._number(), event)
                self._due.put_off(self._clip_s(event))
                return half
            if not await self._open():
                self._freed.clear()
                await self._freed.wait()
        return None

    def _clip_s(self, event: int) -> float:
        """How long a clip that begins now may get."""
        now_s = asyncio.get_running_loop().time()
        if event != self._event:
            self._event, self._since_s = event, now_s
            return 0.0
        return YOUNG_CLIP_S if now_s - self._since_s < YOUNG_S else CLIP_S

    async def _open(self) -> bool:
        """Have one file more, unless both are in use. Raises OSError."""
        async with self._opening:
            if self._free or self._filling is not None:
                return True
            if not self._names:
                return False
            path = await self._archive.make_beside(self._camera, self._spool, self._names[0])
            if path is None:
                self._gone = True
            else:
                self._free.append(Half(path, os.open(path, os.O_RDWR | os.O_CLOEXEC)))
                del self._names[0]
            return True

    def _store(self, half: Half) -> None:
        task = asyncio.ensure_future(self._make_clip(half))
        self._clips.add(task)
        task.add_done_callback(self._clips.discard)

    def _try_again(self) -> None:
        refused, self._refused = self._refused, []
        for half in refused:
            self._store(half)

    async def _make_clip(self, half: Half) -> None:
        await half.written()
        outcome = Outcome.GONE if self._gone else await self._hand_over(half)
        if self._gone:
            os.close(half.fd)
        elif outcome is Outcome.FULL:
            self._refused.append(half)
            self._again.put_off(RETRY_S)
        elif half.broken:
            os.close(half.fd)
            remove(half.path)
            self._names.append(half.path.name)
        else:
            self._free.append(half)
        self._freed.set()

    async def _hand_over(self, half: Half) -> Outcome:
        async with self._scribe.together:
            try:
                item = await self._scribe.clip(half, self._camera, self._spool)
            except OSError as e:
                log.error("%s: pictures cannot be read again: %s", half.path, e)
                return Outcome.FULL
            return Outcome.STORED if item is None else await self._hand(item)


async def take_over(path: Path, hand: Callable[[Item], Awaitable[Outcome]]) -> bool:
    """Make a clip of what another run left in the file, and remove it; False: the archive does not take it now.

    What was stored before is known by its number. Raises OSError.
    """
    written = parse(await asyncio.to_thread(path.read_bytes))
    if written is not None:
        camera, spool = path.parts[-3:-1]
        if await hand(await asyncio.to_thread(written.item, camera, spool)) is Outcome.FULL:
            return False
    remove(path)
    return True
