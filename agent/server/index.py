"""The archive's SQLite index: one writer thread that commits whatever waits as one transaction."""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from agent.server.schema import MIGRATIONS

T = TypeVar("T")
MAX_JOBS = 64
MAX_VACUUM_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Tx:
    """The running transaction: its connection, and the directories to be synced before it commits."""

    conn: sqlite3.Connection
    dirs: set[Path] = field(default_factory=set)


@dataclass(slots=True)
class _Job:
    run: Callable[[Tx], Any]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]
    alone: bool = False
    result: Any = None
    error: BaseException | None = None

    def deliver(self) -> None:
        try:
            self.loop.call_soon_threadsafe(self._set)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    def _set(self) -> None:
        if self.done.done():
            return
        if self.error is not None:
            self.done.set_exception(self.error)
        else:
            self.done.set_result(self.result)


class Index:
    """Whole-transaction functions run on one writer thread; readers have their own thread and connection.

    Group commit: functions that wait while the disk is busy share the next fsync. A function that raises is
    rolled back alone. `durable=False` leaves out every sync.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self._path = path
        self._durable = durable
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._conn = self._connect()
        try:
            _migrate(self._conn)
            self._reads = self._connect()
        except BaseException:
            self._conn.close()
            raise
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="index-read")
        self._writer = threading.Thread(target=self._work, name="index-write", daemon=True)
        self._writer.start()
        self.commits = 0

    def _connect(self) -> sqlite3.Connection:
        conn = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=10)
        conn.row_factory = sqlite3.Row
        conn.execute("PRAGMA secure_delete=ON")
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute("PRAGMA synchronous=" + ("FULL" if self._durable else "OFF"))
        return conn

    async def write(self, run: Callable[[Tx], T]) -> T:
        """Run `run` inside a transaction on the writer thread; returns when it is committed."""
        loop = asyncio.get_running_loop()
        job = _Job(run, loop, loop.create_future())
        self._jobs.put(job)
        result: T = await job.done
        return result

    async def scrub(self) -> None:
        """Leave nothing of what was deleted in the files: neither in the log nor in free places of pages.

        `secure_delete` overwrites what is deleted; moving rows between pages leaves copies, which only VACUUM removes.
        """
        loop = asyncio.get_running_loop()
        job = _Job(_scrub, loop, loop.create_future(), alone=True)
        self._jobs.put(job)
        await job.done

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run `query` on the reader's connection; it sees every transaction that was acknowledged before."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, query, self._reads)

    async def foreign_version(self) -> int:
        """A number that changes when another process wrote to the index, and with nothing written through this one.

        `PRAGMA data_version` leaves out the commits of the connection that asks: hence on the writer's.
        """
        return await self.write(lambda tx: int(tx.conn.execute("PRAGMA data_version").fetchone()[0]))

    async def close(self) -> None:
        """Finish what waits, then close."""
        await asyncio.get_running_loop().run_in_executor(None, self.close_now)

    def close_now(self) -> None:
        self._jobs.put(None)
        self._writer.join()
        self._reader.shutdown(wait=True)
        self._reads.close()
        self._conn.close()

    def _work(self) -> None:
        ended = False
        while not ended:
            jobs: list[_Job] = []
            item = self._jobs.get()
            while item is not None:
                jobs.append(item)
                if len(jobs) >= MAX_JOBS or self._jobs.empty():
                    break
                item = self._jobs.get()
            ended = item is None
            if together := [job for job in jobs if not job.alone]:
                self._commit(together)
            if lone := [job for job in jobs if job.alone]:
                self._run_alone(lone)
            if jobs:
                for job in jobs:
                    job.deliver()

    def _commit(self, jobs: list[_Job]) -> None:
        tx = Tx(self._conn)
        try:
            self._conn.execute("BEGIN IMMEDIATE")
            for job in jobs:
                self._attempt(job, tx)
            if self._durable:
                for path in tx.dirs:
                    sync_dir(path)
            self._conn.execute("COMMIT")
            self.commits += 1
        except (sqlite3.Error, OSError) as e:
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK")
            for job in jobs:
                job.error = job.error or e

    def _run_alone(self, jobs: list[_Job]) -> None:
        """Once for all that ask for it, outside a transaction."""
        try:
            jobs[0].run(Tx(self._conn))
        except sqlite3.Error as e:
            for job in jobs:
                job.error = e

    def _attempt(self, job: _Job, tx: Tx) -> None:
        tx.conn.execute("SAVEPOINT job")
        try:
            job.result = job.run(tx)
        except Exception as e:
            job.error = e
            if tx.conn.in_transaction:
                tx.conn.execute("ROLLBACK TO job")
        tx.conn.execute("RELEASE job")


def _scrub(tx: Tx) -> None:
    pages = int(tx.conn.execute("PRAGMA page_count").fetchone()[0])
    if pages * int(tx.conn.execute("PRAGMA page_size").fetchone()[0]) <= MAX_VACUUM_BYTES:
        tx.conn.execute("VACUUM")
    tx.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def sync_dir(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _migrate(conn: sqlite3.Connection) -> None:
    at = conn.execute("PRAGMA user_version").fetchone()[0]
    if at > len(MIGRATIONS):
        raise sqlite3.DatabaseError(f"index version {at} is newer than this program's {len(MIGRATIONS)}")
    for version, statements in enumerate(MIGRATIONS[at:], at + 1):
        conn.execute("BEGIN IMMEDIATE")
        for statement in statements:
            conn.execute(statement)
        conn.execute(f"PRAGMA user_version={version}")
        conn.execute("COMMIT")
