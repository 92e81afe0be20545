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
FULL_BYTES = 128 * MIB


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-spool-", dir=os.environ.get("BENCH_DIR")) as folder:
        _appending(Path(folder))
    _memory()


def _appending(folder: Path) -> None:
    """They take turns, so that what else the disk does meets all: a young spool, one that is full, SQLite."""
    payload = random.Random(1).randbytes(SIZE)
    young, full = _Spool(folder / "young", 4096 * MIB, payload), _Spool(folder / "full", FULL_BYTES, payload)
    while full.disk.shelf.bytes < FULL_BYTES * 9 // 10:
        full.write(BATCH)
    safe, quick = _blobs(folder / "safe.db", "FULL", payload), _blobs(folder / "quick.db", "NORMAL", payload)
    rows: list[tuple[str, int, bool, Callable[[int], None]]] = [
        ("each synced", 1, True, safe),
        (f"{BATCH} to a sync", BATCH, True, safe),
        ("not synced", 1, False, quick),
    ]
    for name, count, sync, sqlite in rows:
        jobs = [*(partial(spool.write, count, sync=sync) for spool in (young, full)), partial(sqlite, count)]
        *ours, theirs = _in_turn(jobs, ROUNDS // (2 if count > 1 else 1))
        for state, took in zip(("young", "full"), ours, strict=True):
            for what, a, b in zip(("wall", "CPU"), took, theirs, strict=True):
                print(
                    f"{name:12s} {state:5s} {what:4s} {a / count * 1e3:7.3f} ms an item, "
                    f"SQLite {b / count * 1e3:7.3f}: {a / b:.2f} of SQLite's"
                )


class _Spool:
    """Everything in it is acknowledged: a full one is written over."""

    def __init__(self, folder: Path, quota: int, payload: bytes) -> None:
        self.disk = Disk(folder, quota, ("a",), 0.0)
        self._payload = payload

    def write(self, count: int, *, sync: bool = True) -> None:
        disk = self.disk
        for _ in range(count):
            item = Item("c", disk.id, disk.next_seq, ItemType.CLIP, 1, disk.next_seq, self._payload, b"d" * 32)
            disk.write(item, Worth.HEAD)
            disk.next_seq += 1
        disk.sync(really=sync)
        disk.acked["a"].add(1, disk.next_seq - 1)


def _blobs(path: Path, synchronous: str, payload: bytes) -> Callable[[int], None]:
    """FULL syncs each transaction, NORMAL the log's checkpoints only."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute(f"PRAGMA synchronous={synchronous}")
    db.execute("CREATE TABLE item (seq INTEGER PRIMARY KEY, sha BLOB, wall INTEGER, data BLOB)")
    seqs = iter(range(1, 10**9))

    def insert(count: int) -> None:
        db.execute("BEGIN IMMEDIATE")
        for _ in range(count):
            seq = next(seqs)
            db.execute("INSERT INTO item VALUES (?,?,?,?)", (seq, b"d" * 32, seq, payload))
        db.execute("COMMIT")

    return insert


def _in_turn(jobs: list[partial[None]], rounds: int) -> list[tuple[float, float]]:
    """Of each: the median round's wall seconds, the mean round's CPU seconds."""
    took: list[list[tuple[float, float]]] = [[] for _ in jobs]
    for _ in range(rounds):
        for i, job in enumerate(jobs):
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
