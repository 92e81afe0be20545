"""The thread behind all journals of a server: what it does with their files is done in order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from agent.frame import Item
from agent.server.batches import waiting
from agent.server.ingest.journalfile import Half

AT_ONCE = 8
CLOSE_S = 0.1


class Scribe:
    """Writes, makes items of what was written, and closes; writes that wait meanwhile share a sync of each file.

    Not `durable`: nothing is synced, and the loop writes by itself. At most AT_ONCE clips are made `together`.
    """

    def __init__(self, *, durable: bool) -> None:
        self.together = asyncio.Semaphore(AT_ONCE)
        self._durable = durable
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    async def write(self, half: Half, record: bytes) -> bool:
        """Append the record; returns whether it is durable."""
        if self._closed:
            return False
        write = partial(half.write, half.size, record)
        half.size += len(record)
        if self._durable:
            durable: bool = await self._put(write, half)
            return durable
        write()
        return not half.broken

    async def item(self, half: Half, camera: str, spool: str) -> Item | None:
        """What was written to the file until now; None: nothing. Raises OSError."""
        item: Item | None = await self._put(partial(half.item, camera, spool))
        return item

    def let_go(self, half: Half, *, keep: bool = False) -> asyncio.Future[None]:
        """Close the file, and remove it unless it is to be kept; the answer is there when that is done."""
        return self._put(partial(half.close, keep=keep))

    async def close(self) -> None:
        """Finish what waits. A disk that hangs is left to itself soon: what was answered is on it."""
        last = self._put(lambda: None) if self._thread is not None else None
        self._closed = True
        if last is not None:
            await asyncio.wait((last,), timeout=CLOSE_S)
            self._jobs.put(None)

    def _put(self, run: Callable[[], Any], half: Half | None = None) -> asyncio.Future[Any]:
        job = _Job(run, self._loop.create_future(), half)
        if self._closed:
            job.error = OSError(errno.ESHUTDOWN, "the server ends")
            self._tell((job,))
            return job.done
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
            self._thread.start()
        self._jobs.put(job)
        return job.done

    def _work(self) -> None:
        ended = False
        while not ended:
            jobs, ended = waiting(self._jobs)
            if writes := [job for job in jobs if job.half is not None]:
                for job in writes:
                    job.do()
                for half in {job.half for job in writes if job.half is not None}:
                    half.sync()
                for job in writes:
                    job.result = job.half is not None and not job.half.broken
                self._soon(writes)
            for job in jobs:
                if job.half is None:
                    job.do()
                    self._soon((job,))

    def _soon(self, jobs: Iterable[_Job]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._tell, jobs)

    @staticmethod
    def _tell(jobs: Iterable[_Job]) -> None:
        for job in jobs:
            if job.done.done():
                continue
            if job.error is not None:
                job.done.set_exception(job.error)
            else:
                job.done.set_result(job.result)


@dataclass(slots=True)
class _Job:
    run: Callable[[], Any]
    done: asyncio.Future[Any]
    half: Half | None = None
    """What it writes to, to be synced before anybody is told."""
    result: Any = None
    error: Exception | None = None

    def do(self) -> None:
        try:
            self.result = self.run()
        except Exception as e:
            self.error = e
