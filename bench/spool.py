"""The spool beside SQLite blobs: time and CPU an item, and the memory that a backlog of 1 GB takes."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from agent.frame import Item, ItemType, Worth
from agent.spool.disk import Disk
from agent.spool.store import Spool
from bench.measure import memory

SIZE = 60_000
ROUNDS = 400
BATCH = 8
BACKLOG_BYTES = 1_000_000_000
MIB = 1024 * 1024


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-spool-", dir=os.environ.get("BENCH_DIR")) as folder:
        _appending(Path(folder))
    _memory()


def _appending(folder: Path) -> None:
    """The two take turns, so that what else the disk does meets both."""
    disk = Disk(folder / "spool", 1024 * MIB, ("a",), 0.0)
    db = sqlite3.connect(folder / "blobs.db", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE item (seq INTEGER PRIMARY KEY, sha BLOB, wall INTEGER, data BLOB)")
    payload = random.Random(1).randbytes(SIZE)
    items = [Item("c", disk.id, s, ItemType.CLIP, 1, s, payload, b"d" * 32) for s in range(1, 1 + ROUNDS * BATCH * 2)]
    queue = iter(items)

    def spool(count: int) -> None:
        for _ in range(count):
            disk.write(next(queue), Worth.HEAD)
        disk.sync()

    sqlite_seq = iter(range(1, 10**9))

    def sqlite(count: int) -> None:
        db.execute("BEGIN IMMEDIATE")
        for _ in range(count):
            seq = next(sqlite_seq)
            db.execute("INSERT INTO item VALUES (?,?,?,?)", (seq, b"d" * 32, seq, payload))
        db.execute("COMMIT")

    for name, count in (("each synced", 1), (f"{BATCH} to a sync", BATCH)):
        ours, theirs = _both(partial(spool, count), partial(sqlite, count), ROUNDS // (2 if count > 1 else 1))
        for what, a, b in zip(("wall", "CPU"), ours, theirs, strict=True):
            ratio = f"{a / b:.2f} of SQLite's"
            print(f"{name:16s} {what:4s} {a / count * 1e3:7.3f} ms an item, SQLite {b / count * 1e3:7.3f}: {ratio}")


def _both(a: Callable[[], None], b: Callable[[], None], rounds: int) -> list[tuple[float, float]]:
    """(wall, CPU) seconds of the median round of each."""
    took: list[list[tuple[float, float]]] = [[], []]
    for _ in range(rounds):
        for i, job in enumerate((a, b)):
            wall, cpu = time.perf_counter(), time.process_time()
            job()
            took[i].append((time.perf_counter() - wall, time.process_time() - cpu))
    middle = rounds // 2
    return [(sorted(w for w, _ in t)[middle], sum(c for _, c in t) / rounds) for t in took]


def _memory() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-spool-", dir=os.environ.get("BENCH_DIR")) as folder:
        asyncio.run(_fill(Path(folder) / "full"))
        found = {}
        for name in ("empty", "full"):
            code = f"import asyncio, bench.spool as b; asyncio.run(b.hold({str(Path(folder) / name)!r}))"
            out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            found[name] = float(out)
        more = found["full"] - found["empty"]
        print(f"memory: {found['empty']:.1f} MiB without a backlog, {found['full']:.1f} MiB with 1 GB: {more:+.1f} MiB")


async def _fill(folder: Path) -> None:
    spool = Spool("c", Disk(folder, 4 * 1024 * MIB, ("a",), 0.0), durability="none")
    payload = random.Random(1).randbytes(SIZE)
    for i in range(BACKLOG_BYTES // SIZE):
        spool.put(ItemType.CLIP, 1 + i // 50, i, payload, Worth.BODY)
        while spool.fresh_bytes > 8 * MIB:
            await asyncio.sleep(0.001)
    await spool.close()


async def hold(folder: str) -> None:
    """An agent's spool while it delivers: print its memory in MiB."""
    spool = Spool("c", Disk(Path(folder), 4 * 1024 * MIB, ("a",), 0.0))
    session = spool.outbox("a").session()
    for _ in range(600):
        spool.put(ItemType.CLIP, 10**6, 0, os.urandom(SIZE), Worth.HEAD)
        item = await session.take()
        spool.outbox("a").ack(0, [(item.seq, item.seq)])
        await asyncio.sleep(0.002)
    print(memory(os.getpid()).rss_mib)
    await spool.close()
