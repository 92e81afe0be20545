"""The database: one writer thread that commits whatever waits as one transaction, and one that reads."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from agent.durable import sync_folder
from agent.server.batches import waiting
from agent.server.index import DamagedError, Rows, TakenError, UnavailableError, rows
from agent.server.sqlite.schema import MIGRATIONS
from agent.server.sqlite.tables import SqliteEvents, SqliteItems, SqliteTable

log = logging.getLogger(__name__)

T = TypeVar("T")
MAX_VACUUM_BYTES = 64 * 1024 * 1024
CLOSE_S = 0.5


@dataclass(slots=True)
class _Job:
    run: Callable[[Rows], Any]
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


class SqliteIndex:
    """Whole-transaction functions run on one writer thread; readers have their own thread and connection.

    Group commit: functions that wait while the disk is busy share the next fsync. A function that raises is
    rolled back alone. `durable=False` leaves out every sync. Raises UnavailableError.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self._path = path
        self._durable = durable
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        with _said:
            with suppress(OSError):  # the connection says why
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # the log beside it takes over its mode
            self._conn = self._connect()
            try:
                _migrate(self._conn)
                self._reads = self._connect()
                self._reads.execute("PRAGMA query_only=ON")
            except BaseException:
                self._conn.close()
                raise
        self._rows, self._read_rows = _tables(self._conn), _tables(self._reads)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="index-read")
        self._writer = threading.Thread(target=self._work, name="index-write", daemon=True)
        self.commits = 0
        self._writer.start()

    def _connect(self) -> sqlite3.Connection:
        conn = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            conn.execute("PRAGMA secure_delete=ON")
            conn.execute("PRAGMA journal_mode=WAL")
            conn.execute("PRAGMA synchronous=" + ("FULL" if self._durable else "OFF"))
        except BaseException:
            conn.close()
            raise
        return conn

    async def write(self, run: Callable[[Rows], T]) -> T:
        """Run `run` inside a transaction on the writer thread; returns when it is committed."""
        result: T = await self._done(run)
        return result

    async def scrub(self) -> None:
        """Leave nothing of what was deleted in the files: neither in the log nor in free places of pages.

        `secure_delete` overwrites what is deleted; moving rows between pages leaves copies, which only VACUUM removes.
        """
        await self._done(lambda _: _scrub(self._conn), alone=True)

    async def read(self, query: Callable[[Rows], T]) -> T:
        """Run `query` in a transaction of the reader's; it sees every one that was acknowledged before."""
        with _said:
            return await asyncio.get_running_loop().run_in_executor(self._reader, self._query, query)

    async def foreign_version(self) -> int:
        """`PRAGMA data_version` leaves out the commits of the connection that asks: hence on the writer's."""
        return await self.write(lambda _: int(self._conn.execute("PRAGMA data_version").fetchone()[0]))

    async def close(self) -> None:
        """Finish what waits, then close; a writer whom the disk holds up for CLOSE_S is left to itself."""
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    def _close(self) -> None:
        self._jobs.put(None)
        done = -1
        while self._writer.is_alive() and done != self.commits:
            done = self.commits
            self._writer.join(CLOSE_S)
        if self._writer.is_alive():
            log.warning("%s: the disk hangs, and what waits for it is left", self._path)
            self._reader.shutdown(wait=False)
            return
        self._reader.shutdown(wait=True)
        self._reads.close()
        self._conn.close()

    async def _done(self, run: Callable[[Rows], Any], *, alone: bool = False) -> Any:
        loop = asyncio.get_running_loop()
        job = _Job(run, loop, loop.create_future(), alone)
        self._jobs.put(job)
        with _said:
            return await job.done

    def _query(self, query: Callable[[Rows], T]) -> T:
        self._reads.execute("BEGIN")
        try:
            return query(self._read_rows)
        finally:
            if self._reads.in_transaction:
                self._reads.execute("COMMIT")

    def _work(self) -> None:
        ended = False
        while not ended:
            jobs, ended = waiting(self._jobs)
            if together := [job for job in jobs if not job.alone]:
                self._commit(together)
            if lone := [job for job in jobs if job.alone]:
                self._run_alone(lone)
            for job in jobs:
                job.deliver()

    def _commit(self, jobs: list[_Job]) -> None:
        self._rows.dirs.clear()
        try:
            self._conn.execute("BEGIN IMMEDIATE")
            for job in jobs:
                self._attempt(job, alone=len(jobs) == 1)
            if not self._conn.in_transaction:
                return  # the only one failed
            if self._durable:
                for path in self._rows.dirs:
                    sync_folder(path)
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
            jobs[0].run(self._rows)
        except sqlite3.Error as e:
            for job in jobs:
                job.error = e

    def _attempt(self, job: _Job, *, alone: bool) -> None:
        """`alone`: nobody shares the transaction, which is undone as a whole then."""
        if not alone:
            self._conn.execute("SAVEPOINT job")
        try:
            job.result = job.run(self._rows)
        except Exception as e:
            job.error = e
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK" if alone else "ROLLBACK TO job")
        if not alone:
            self._conn.execute("RELEASE job")


@contextmanager
def read_only(path: Path) -> Iterator[Rows]:
    """One state of the database for all questions, while a server may write."""
    with _said:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10)) as conn:
            conn.execute("BEGIN")
            yield _tables(conn)


class _Said:
    """SQLite's errors in the index's words; a mistake of ours stays what it is."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, e: BaseException | None, trace: object) -> None:
        if not isinstance(e, sqlite3.DatabaseError) or isinstance(e, sqlite3.ProgrammingError):
            return
        if isinstance(e, sqlite3.IntegrityError):
            raise TakenError(str(e)) from e
        if isinstance(e, sqlite3.OperationalError):
            raise UnavailableError(str(e)) from e
        raise DamagedError(str(e)) from e


_said = _Said()


def _tables(conn: sqlite3.Connection) -> Rows:
    spool = ("camera", "spool")
    return Rows(
        items=SqliteItems(conn),
        events=SqliteEvents(conn),
        settled=SqliteTable(conn, "ranges", rows.Span, *spool, "first"),
        dropped=SqliteTable(conn, "dropped", rows.Dropped, *spool, "first", "last"),
        past=SqliteTable(conn, "past", rows.Past, *spool, "block"),
        notes=SqliteTable(conn, "notes", rows.NoteRow, "id"),
        cameras=SqliteTable(conn, "cameras", rows.CameraRow, "name"),
        erasing=SqliteTable(conn, "erasing", rows.Erasing, "camera"),
        gone=SqliteTable(conn, "gone", rows.Gone, "hash"),
        facts=SqliteTable(conn, "meta", rows.Fact, "key"),
        accounts=SqliteTable(conn, "accounts", rows.AccountRow, "id"),
        grants=SqliteTable(conn, "grants", rows.Grant, "account", "camera"),
        sessions=SqliteTable(conn, "sessions", rows.Session, "hash"),
        links=SqliteTable(conn, "links", rows.Link, "hash"),
        tokens=SqliteTable(conn, "tokens", rows.Token, "id"),
        shares=SqliteTable(conn, "shares", rows.Share, "id"),
        dirs=set(),
    )


def _scrub(conn: sqlite3.Connection) -> None:
    pages = int(conn.execute("PRAGMA page_count").fetchone()[0])
    if pages * int(conn.execute("PRAGMA page_size").fetchone()[0]) <= MAX_VACUUM_BYTES:
        conn.execute("VACUUM")
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _migrate(conn: sqlite3.Connection) -> None:
    at = conn.execute("PRAGMA user_version").fetchone()[0]
    if at > len(MIGRATIONS):
        raise UnavailableError(f"index version {at} is newer than this program's {len(MIGRATIONS)}")
    while at < len(MIGRATIONS):
        conn.execute("BEGIN IMMEDIATE")
        at = conn.execute("PRAGMA user_version").fetchone()[0]  # another process may have been faster
        for statement in MIGRATIONS[at] if at < len(MIGRATIONS) else ():
            conn.execute(statement)
        at = min(at + 1, len(MIGRATIONS))
        conn.execute(f"PRAGMA user_version={at}")
        conn.execute("COMMIT")
