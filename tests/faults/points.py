"""Die at every file call: one process forks a child for each point, arms it, and looks at what it left behind.

    LD_PRELOAD=killpoint.so python -m tests.faults.points spool|store|journal FOLDER [--every N] [--break NAME]

Prints one JSON object: the calls of a whole run, the points tried, and what was wrong at which.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import hashlib
import itertools
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from agent.frame import Codec, Frame, Item, ItemType, Worth
from agent.server.archive import Archive
from agent.server.fsck import check
from agent.server.index.rows import CameraRow
from agent.server.ingest import journalfile
from agent.server.ingest.journal import Journal, take_over
from agent.server.ingest.journalfile import left_in
from agent.server.ingest.scribe import Scribe
from agent.spool.disk import SMALL_BYTES, Disk
from agent.spool.record import BLOCK
from agent.spool.store import Spool
from tests.faults import planted
from tests.faults.oracle import judge
from tests.server.pictures import kept

QUOTA = SMALL_BYTES + 11 * BLOCK
ITEMS = 20
HOW = ("before", "after", "torn")


def payload(i: int) -> bytes:
    return b"\xff\xd8" + b"%d " % i * (400 + 37 * i % 200)


# --- the agent's side ---


def open_spool(folder: Path) -> Spool:
    return Spool("cam1", Disk(folder / "spool", QUOTA, ("a",), 0.0), ledger=folder / "ledger")


async def fill(folder: Path) -> None:
    """Items of all worths, some acknowledged and written over, more than fit."""
    spool = open_spool(folder)
    for i in range(ITEMS):
        type_ = ItemType.STILL if i % 4 == 3 else ItemType.CLIP
        spool.put(type_, 0 if i % 4 == 3 else 1 + i // 4, i, payload(i), list(Worth)[i % 3])
        await asyncio.sleep(0.002)
        if i == 8:
            spool.outbox("a").ack(4)
            spool.give_up(6, "corrupt")
        if i == 12:
            spool.outbox("a").ack(8, [(10, 10)])
    await spool.close()


async def check_spool(folder: Path) -> list[str]:
    """What is wrong with the spool that is left."""
    wrong = []
    spool = open_spool(folder)
    top = spool.next_seq
    lines = [line.split() for line in (folder / "ledger").read_text().splitlines()]
    gone, acked = spool.disk.tombstones.numbers, spool.disk.acked["a"]
    for words in lines:
        if words[0] != "item":
            continue
        seq = int(words[3])
        if seq >= top:
            wrong.append(f"number {seq} would be used again")
        if seq in gone or seq in acked:
            continue
        item = await spool.read(seq)
        if item is None:
            wrong.append(f"item {seq} was promised and is not there")
        elif item.sha256.hex() != words[4] or Item.digest(item.payload) != item.sha256:
            wrong.append(f"item {seq} is another one")
    kept = {seq for seq, _ in spool.disk.shelf.kept()}
    wrong += [f"number {s} is nowhere" for s in range(1, top) if s not in kept and s not in gone and s not in acked]
    new = spool.put(ItemType.CLIP, 99, 0, b"new", Worth.HEAD)
    if new.seq in kept or new.seq < top:
        wrong.append(f"number {new.seq} was used again")
    await spool.close()
    return wrong


# --- the server's side ---


def item(i: int) -> Item:
    data = payload(i)
    return Item("cam1", "0" * 16, i + 1, ItemType.STILL, 0, i, data, Item.digest(data))


async def open_archive(folder: Path, name: str = "store") -> Archive:
    archive = Archive(folder / name, min_free_bytes=0)
    archive.clear_incoming()
    await archive.index.write(lambda rows: rows.cameras.put(CameraRow("cam1", 1, "", None, None, "{}")))
    return archive


async def store(folder: Path) -> None:
    """Items, some together, one twice, a declared gap; the ledger names what was acknowledged."""
    archive = await open_archive(folder)
    with open(folder / "ledger", "a", encoding="ascii") as ledger:

        async def take(i: int) -> None:
            one = item(i)
            if (await archive.ingest(one)).settled:
                ledger.write(f"item {one.camera} {one.spool} {one.seq} {one.sha256.hex()}\n")
                ledger.flush()

        for i in range(0, ITEMS, 4):
            await asyncio.gather(*(take(i + k) for k in range(4)), take(i))
            await archive.declare("cam1", "0" * 16, 100 + i, 101 + i, "quota")
    await archive.close()


async def check_store(folder: Path) -> list[str]:
    archive = await open_archive(folder)
    found = judge(folder / "store", folder / "ledger")
    wrong = [] if found["ok"] else [json.dumps(found)]
    outcomes = [await archive.ingest(item(i)) for i in range(ITEMS)]
    wrong += [f"again: {o.value}" for o in outcomes if not o.settled]
    await archive.close()
    found = judge(folder / "store", folder / "ledger")
    wrong += [] if found["ok"] and found["stored"] == ITEMS else [f"at the end {json.dumps(found)}"]
    files = sum(p.is_file() for p in (folder / "store" / "items").rglob("*"))
    left = list((folder / "store" / "incoming").iterdir())
    return wrong + ([] if files == ITEMS and not left else [f"{files} files, {left} left over"])


# --- pictures that are uploaded to the server one by one ---


def picture(i: int) -> Frame:
    return Frame(Codec.JPEG, payload(i), True, i, i + 1, i)


def open_journal(archive: Archive, scribe: Scribe, folder: Path) -> Journal:
    """Of a run of its own, that begins with number 1."""
    run = hashlib.sha256(b"%d" % len(list(folder.glob("journal/items/*/*")))).hexdigest()[:16]
    return Journal(archive, scribe, ("cam1", "", run), itertools.count(1).__next__, archive.ingest)


async def upload(folder: Path) -> None:
    """Pictures of two events, one cut off, some together, more than a file takes; the ledger names the answered."""
    archive, scribe = await open_archive(folder, "journal"), Scribe(durable=True)
    journal = open_journal(archive, scribe, folder)
    with open(folder / "ledger", "a", encoding="ascii") as ledger:

        async def take(i: int) -> None:
            outcome = await journal.put(picture(i), 1 + i // 8, truncated=i == 5)
            if outcome.settled:
                ledger.write(f"{hashlib.sha256(payload(i)).hexdigest()}\n")
                ledger.flush()

        for i in range(0, ITEMS, 2):
            await asyncio.gather(take(i), take(i + 1))
    await journal.close()
    await scribe.close()
    await archive.close()


async def check_journal(folder: Path) -> list[str]:
    archive, scribe = await open_archive(folder, "journal"), Scribe(durable=True)
    wrong = []
    for path in left_in(folder / "journal"):
        if not await take_over(path, archive.ingest):
            wrong.append(f"{path} was not taken")
    journal = open_journal(archive, scribe, folder)
    outcomes = [await journal.put(picture(ITEMS), 9, truncated=False)]
    await journal.close()
    wrong += [f"anew: {o.value}" for o in outcomes if not o.settled]
    await scribe.close()
    await archive.close()
    root = folder / "journal"
    found = check(root)
    wrong += [] if found.ok and not found.waiting and not left_in(root) else [json.dumps(found.as_json())]
    there = Counter(hashlib.sha256(data).hexdigest() for _, data in kept(root / "items"))
    promised = (folder / "ledger").read_text().split()
    wrong += [f"{digest} is there {there[digest]} times" for digest in promised if there[digest] != 1]
    wrong += [f"{digest} is there twice" for digest in there if there[digest] != 1]
    known = {hashlib.sha256(payload(i)).hexdigest() for i in range(ITEMS + 1)}
    return wrong + [f"{digest} is none of ours" for digest in there if digest not in known]


SIDES: dict[str, tuple[Callable[..., Coroutine[Any, Any, None]], Callable[..., Coroutine[Any, Any, list[str]]]]] = {
    "spool": (fill, check_spool),
    "store": (store, check_store),
    "journal": (upload, check_journal),
}


# --- dying ---


def fork(job: Callable[[], Any]) -> tuple[int, str]:
    """Run in a child: (how it ended, what it returned as JSON)."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        code = 1
        try:
            os.write(writing, json.dumps(job()).encode()[:4000])
            code = 0
        except BaseException as e:
            os.write(writing, json.dumps([f"{type(e).__name__}: {e}"]).encode()[:4000])
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as f:
        said = f.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("side", choices=tuple(SIDES))
    p.add_argument("folder", type=Path)
    p.add_argument("--every", type=int, default=1)
    p.add_argument("--break", dest="brk", default="")
    a = p.parse_args()
    planted.plant(a.brk)
    journalfile.FILL_BYTES = 10_000  # so that the files take turns
    fault = ctypes.CDLL(None)
    work, look = SIDES[a.side]

    def live(folder: Path, n: int, how: int) -> int:
        fault.killpoint_arm(str(folder / a.side).encode(), ctypes.c_long(n), how)
        asyncio.run(work(folder))
        return int(fault.killpoint_count())

    def once(n: int, how: int) -> tuple[int, str, list[str]]:
        folder = a.folder / f"{n}-{how}"
        folder.mkdir()
        (folder / "ledger").touch()
        code, said = fork(lambda: live(folder, n, how))
        _, wrong = fork(lambda: asyncio.run(look(folder)))
        shutil.rmtree(folder)
        return code, said, json.loads(wrong)

    code, calls, wrong = once(0, 0)
    bad = [["whole run", wrong or calls]] if code or wrong else []
    tried = killed = 0
    for n in range(1, int(calls) + 1 if not bad else 0):
        if (n + a.every // 2) % a.every:
            continue
        code, _, wrong = once(n, n % 3 if a.every > 1 else 0)
        results = [(code, wrong)]
        if a.every == 1:
            results += [once(n, how)[::2] for how in (1, 2)]
        for code, wrong in results:
            tried += 1
            killed += code == -signal.SIGKILL
            if wrong:
                bad.append([n, wrong[:3]])
    print(json.dumps({"calls": calls, "tried": tried, "killed": killed, "bad": bad[:5], "n_bad": len(bad)}))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
