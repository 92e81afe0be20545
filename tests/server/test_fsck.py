"""`archive fsck` finds every planted fault and nothing else; `archive rebuild` makes the index anew."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent.cli import main
from agent.errors import UsageError
from agent.frame import Item
from agent.outbox import MemoryOutbox
from agent.server.app import CameraServer, ServerSettings
from agent.server.archive import Archive, Outcome
from agent.server.fsck import Report, _holes, check
from agent.server.lock import StoreLock
from agent.server.rebuild import rebuild
from tests.server.conftest import Start
from tests.server.pictures import item, jpeg, put_event

SPOOL = "0123456789abcdef"
BAD = ("lost", "dup", "torn", "wrong")


class Store:
    """A store with one event and five stills, and the ledger of what was promised."""

    def __init__(self, root: Path, archive: Archive, ledger: Path) -> None:
        self.root, self.archive, self.ledger = root, archive, ledger
        self.items: list[Item] = []

    async def put(self, one: Item) -> None:
        self.promise(one)
        assert await self.archive.ingest(one) is Outcome.STORED
        self.items.append(one)

    def promise(self, one: Item) -> None:
        with open(self.ledger, "a") as out:
            out.write(f"item {one.camera} {one.spool} {one.seq} {one.sha256.hex()}\n")

    def file(self, n: int) -> Path:
        one = self.items[n]
        return self.archive.path(one.camera, one.spool, one.seq, one.type)

    def sql(self, text: str, *args: object) -> None:
        with sqlite3.connect(self.root / "index.db") as conn:
            conn.execute(text, args)
        conn.close()

    def check(self) -> Report:
        return check(self.root, (self.ledger,))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    archive = Archive(tmp_path / "store", durable=False)
    made = Store(tmp_path / "store", archive, tmp_path / "ledger")
    made.sql("INSERT INTO cameras (name, token_hash, created_ns) VALUES ('porch', NULL, 0)")
    box = MemoryOutbox("porch")
    put_event(box, 3, time.time_ns())
    for one, _ in box._items.values():
        await made.put(one)
    for seq in range(1, 6):
        await made.put(item("porch", SPOOL, seq, jpeg(seq)))
    yield made
    await archive.close()


def counts(report: Report) -> dict[str, object]:
    return {k: v for k, v in report.as_json().items() if k not in ("promised", "stored", "findings") and v}


async def test_a_whole_store_is_said_to_be_whole(store: Store) -> None:
    report = store.check()
    assert (report.promised, report.stored, counts(report)) == (11, 11, {"ok": True})


@pytest.mark.parametrize("n", [0, 2, 7])
async def test_a_missing_file_is_torn(store: Store, n: int) -> None:
    store.file(n).unlink()
    assert counts(store.check()) == {"torn": 1}


async def test_a_short_file_is_torn(store: Store) -> None:
    os.truncate(store.file(8), 100)
    report = store.check()
    assert counts(report) == {"torn": 1} and "has 100 bytes instead of" in report.findings[0]


async def test_one_altered_bit_is_torn(store: Store) -> None:
    data = bytearray(store.file(8).read_bytes())
    data[500] ^= 1
    store.file(8).write_bytes(data)
    assert counts(store.check()) == {"torn": 1}


async def test_a_row_that_is_gone_is_lost_and_its_file_is_no_item(store: Store) -> None:
    store.sql("DELETE FROM items WHERE spool=? AND seq=2", SPOOL)
    report = store.check()
    assert counts(report) == {"lost": 1, "unindexed": 1} and f"{SPOOL}-2" in report.findings[0]
    report = check(store.root)
    assert counts(report) == {"lost": 1, "unindexed": 1}, "it was answered for: that is known without a ledger"


async def test_what_was_answered_for_and_nobody_knows_is_lost_without_a_ledger(store: Store) -> None:
    assert check(store.root).ok
    await store.archive.declare("porch", SPOOL, 8, 2**40, "quota")
    store.sql("DELETE FROM dropped WHERE spool=?", SPOOL)
    store.sql("DELETE FROM items WHERE spool=? AND seq IN (2, 3, 5)", SPOOL)
    found = check(store.root)
    assert found.lost == 3 + 2**40 - 7 and len(found.findings) == 3
    assert store.check().lost == found.lost, "those that were promised are not counted twice"


def test_holes_of_ranges_are_those_of_their_numbers() -> None:
    rng = random.Random(1)
    for _ in range(500):
        settled = {n for n in range(40) if rng.random() < 0.7}
        spans = [(n, next(m for m in range(n, 41) if m + 1 not in settled)) for n in settled if n - 1 not in settled]
        known = [(a, a + rng.randrange(6)) for a in rng.choices(range(40), k=rng.randrange(8))]
        found = [n for a, b in _holes(sorted(spans), sorted(known)) for n in range(a, b + 1)]
        assert found == sorted(settled - {n for a, b in known for n in range(a, b + 1)})


async def test_what_was_promised_and_never_came_is_lost(store: Store) -> None:
    store.promise(item("porch", SPOOL, 6, jpeg(6)))
    assert counts(store.check()) == {"lost": 1}


async def test_what_was_declared_is_not_lost(store: Store) -> None:
    store.promise(item("porch", SPOOL, 7, jpeg(7)))
    await store.archive.declare("porch", SPOOL, 6, 9, "quota")
    assert counts(store.check()) == {"declared": 1, "ok": True}
    assert check(store.root).declared == 4, "without a ledger: all numbers that were given up"
    await store.put(item("porch", SPOOL, 8, jpeg(8)))
    assert check(store.root).declared == 3, "one came after all"


async def test_a_number_used_twice_is_wrong(store: Store) -> None:
    store.promise(item("porch", SPOOL, 3, jpeg(99)))
    report = store.check()
    assert (report.promised, counts(report)) == (12, {"wrong": 1})


async def test_two_rows_of_one_item_are_a_double(store: Store) -> None:
    store.sql("CREATE TABLE copy AS SELECT * FROM items")
    store.sql("INSERT INTO copy SELECT * FROM items WHERE spool=? AND seq=4", SPOOL)
    store.sql("DROP TABLE items")
    store.sql("ALTER TABLE copy RENAME TO items")
    report = store.check()
    assert counts(report) == {"dup": 1} and report.stored == 11


async def test_what_retention_took_is_expired_and_known_for_ever(store: Store) -> None:
    old = [store.items[n] for n in (0, 1, 7, 8)]
    assert await store.archive.delete([(i.camera, i.spool, i.seq) for i in old]) == 4
    assert counts(store.check()) == {"expired": 4, "ok": True}
    gone = next(i for i in store.items if i.spool == SPOOL)
    store.promise(item("porch", SPOOL, gone.seq + 1, jpeg(55)))
    assert store.check().wrong == 1


async def test_leftovers_of_a_cut_upload_are_counted_and_harmless(store: Store) -> None:
    (store.file(8).parent / "9.jpg.ab12.tmp").write_bytes(b"x")
    assert counts(store.check()) == {"unindexed": 1, "ok": True}


async def test_a_torn_ledger_line_is_no_promise(store: Store) -> None:
    with open(store.ledger, "a") as out:
        out.write(f"garbage\nitem porch {SPOOL} x {'0' * 64}\nitem porch {SPOOL} 9 {'z' * 64}\nitem porch {SPOOL} 9 00")
    assert store.check().promised == 11


async def test_it_reads_a_store_in_use_and_changes_nothing(start: Start, tmp_path: Path) -> None:
    server: CameraServer = await start()
    root = server.settings.store_path
    await server.add_camera("porch")
    assert server._archive is not None
    for seq in range(1, 4):
        await server._archive.ingest(item("porch", SPOOL, seq, jpeg(seq)))
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file() and not p.name.endswith("-shm")}
    assert check(root).stored == 3
    assert {p: p.read_bytes() for p in before} == before
    await server._archive.ingest(item("porch", SPOOL, 4, jpeg(4)))
    assert check(root).stored == 4


async def test_it_reads_a_store_whose_server_was_killed(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.root, tmp_path / "killed")  # with a WAL that nobody has merged
    assert (tmp_path / "killed/index.db-wal").stat().st_size > 0
    assert check(tmp_path / "killed", (store.ledger,)).ok


def run(*args: str) -> Result:
    return CliRunner().invoke(main, ["archive", *args])


async def test_the_command(store: Store) -> None:
    where = ("fsck", "--store", str(store.root), "--ledger", str(store.ledger))
    good = run(*where, "--json")
    assert good.exit_code == 0
    told = json.loads(good.stdout)
    assert list(told)[:8] == ["promised", "stored", "declared", "lost", "dup", "torn", "wrong", "ok"]
    assert told["ok"] is True and told["promised"] == told["stored"] == 11
    store.file(4).unlink()
    bad = run(*where)
    assert bad.exit_code == 1 and "torn      1" in bad.stdout and "ok        no" in bad.stdout


@pytest.mark.parametrize("args", [("fsck",), ("fsck", "--json")])
def test_no_store_is_said(tmp_path: Path, args: tuple[str, ...]) -> None:
    result = run(*args, "--store", str(tmp_path))
    assert result.exit_code == 66 and "has no index.db" in result.output


async def test_a_ledger_that_is_not_there_is_said(store: Store) -> None:
    result = run("fsck", "--store", str(store.root), "--ledger", "/nowhere/ledger")
    assert result.exit_code == 66 and "/nowhere/ledger" in result.output


def rows(root: Path, sql: str) -> list[tuple[object, ...]]:
    conn = sqlite3.connect(root / "index.db")
    try:
        return conn.execute(sql).fetchall()
    finally:
        conn.close()


async def test_an_index_is_made_anew_from_the_files(store: Store) -> None:
    wall = "CASE type WHEN 2 THEN wall_ns END"  # a still's time is its file's, a record's that of its event
    items = f"SELECT camera, spool, seq, type, event, {wall}, bytes, sha256 FROM items ORDER BY spool, seq"
    events = "SELECT camera, spool, number, state, at_ns, frames, clips, bytes, thumb_seq FROM events"
    before, events_before = rows(store.root, items), rows(store.root, events)
    await store.archive.close()
    lock = StoreLock(store.root)
    with pytest.raises(UsageError, match="in use") as taken:  # and not that its index should be moved away
        await rebuild(store.root)
    assert taken.value.exit_code == 75
    lock.close()
    with pytest.raises(UsageError, match="has an index"):
        await rebuild(store.root)
    aside = [path.rename(f"{path}.old") for path in store.root.glob("index.db*")]
    (store.file(8).parent / "77.jpg").write_bytes(b"no picture")
    (store.file(8).parent / "78.jpg.ab.tmp").write_bytes(b"\xff\xd8")
    done = await rebuild(store.root)
    assert (done.cameras, done.items, done.skipped) == (1, 11, 2)
    assert all(path.exists() for path in aside), "what was moved away is somebody's"
    assert rows(store.root, items) == before
    assert rows(store.root, events) == events_before
    report = store.check()
    assert report.ok and report.unindexed == 2
    again = Archive(store.root, durable=False)
    try:
        assert await again.ingest(store.items[0]) is Outcome.DUPLICATE, "the numbers are known again"
    finally:
        await again.close()


async def test_what_a_server_made_beside_the_recordings_gives_way(store: Store) -> None:
    """It says that the index is lost; doing as it says needs no more than that. Nor does a check find all well."""
    await store.archive.close()
    (store.root / "index.db").write_bytes(b"")
    with pytest.raises(UsageError, match="archive rebuild"):
        await CameraServer(ServerSettings(port=0, store=str(store.root))).start()
    with pytest.raises(UsageError, match="it is empty, and there are recordings"):
        store.check()
    assert (await rebuild(store.root)).items == 11 and store.check().ok


async def test_an_index_whose_making_was_cut_short_is_none(store: Store) -> None:
    await store.archive.close()
    (store.root / "index.db").unlink()
    making = asyncio.create_task(rebuild(store.root))
    while not list(store.root.rglob("index.db")):
        await asyncio.sleep(0)
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
    assert not (store.root / "index.db").exists()
    assert (await rebuild(store.root)).items == 11 and store.check().ok
    assert not list((store.root / "incoming").iterdir())


async def test_a_store_in_use_is_not_rebuilt(start: Start) -> None:
    server: CameraServer = await start()
    root = server.settings.store_path
    for path in root.glob("index.db*"):
        path.rename(path.with_name("away-" + path.name))
    with pytest.raises(UsageError, match="in use"):
        await rebuild(root)


def test_reports_stay_bounded() -> None:
    report = Report()
    for seq in range(1000):
        report.find("lost", ("porch", SPOOL, seq), "gone")
    assert report.lost == 1000 and len(report.findings) == 20
