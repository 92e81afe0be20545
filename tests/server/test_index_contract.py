"""What every index must do: SQLite's, and one in dictionaries, through the same checks; a server on either."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.errors import UsageError
from agent.frame import Codec, ItemType
from agent.server.app import CameraServer
from agent.server.index import (
    Below,
    From,
    Index,
    NoneOf,
    OneOf,
    OpenIndex,
    Rows,
    TakenError,
    UnavailableError,
)
from agent.server.index.rows import (
    AccountRow,
    CameraRow,
    Dropped,
    Erasing,
    EventRow,
    Fact,
    Gone,
    Grant,
    ItemRow,
    Link,
    NoteRow,
    Past,
    Session,
    Share,
    Span,
    Token,
)
from agent.server.settings import ServerSettings
from agent.server.sqlite import SqliteIndex, open_index, snapshot
from tests.fakes.index import MemoryIndex, open_memory
from tests.server.pictures import jpeg

KINDS: dict[str, OpenIndex] = {"sqlite": open_index, "memory": open_memory}
SPOOL = "0123456789abcdef"

# One row of each kind with every field filled, and the same with other contents under the same key.
SAMPLES: dict[str, tuple[Any, dict[str, Any]]] = {
    "items": (
        ItemRow("porch", SPOOL, 1, ItemType.CLIP, 2, 3, 4, b"5" * 32, 6, Codec.H264, 7, 8, 9),
        {"stored_ns": 99, "codec": Codec.JPEG, "first_index": None},
    ),
    "events": (
        EventRow("porch", SPOOL, 1, -2, 3, 4, 5, 0, 6, "open", 0.5, 0.75, "motion", "[[0,0,1,1]]", 7, "why", 8, 9, 10),
        {"state": "closed", "end_ns": None, "thumb_seq": 1, "thumb_start": 2, "thumb_length": 3, "kept": True},
    ),
    "settled": (Span("porch", SPOOL, 1, 2), {"last": 2**63 - 2}),
    "dropped": (Dropped("porch", SPOOL, 1, 2, "quota", 3), {"why": "restart"}),
    "past": (Past("porch", SPOOL, 1, bytes(8000)), {"digests": b"\xff" * 8000}),
    "notes": (NoteRow("porch", SPOOL, 1, 2, 3), {"tries": 1, "told": "[0]"}),
    "cameras": (CameraRow("porch", 2, "cam-x", b"t", None, "{}", 5), {"token_hash": None, "settings": '{"a":1}'}),
    "erasing": (Erasing("porch"), {}),
    "gone": (Gone(b"h", 1), {"at_ns": 2}),
    "facts": (Fact("salt", b"s"), {"value": b"t"}),
    "accounts": (AccountRow("Ann' OR 1=1 --", "owner", b"s", b"h"), {"role": "viewer"}),
    "grants": (Grant(1, "porch"), {}),
    "sessions": (Session(b"h", 1, 2), {"expires_ns": 3}),
    "links": (Link(b"h", "pair", 0, "porch", 1), {"kind": "invite"}),
    "tokens": (Token(b"h", 1, "mine", "read", "", 2, 3), {"scope": "manage"}),
    "shares": (Share(b"h", 1, "porch", 0, 2, 3), {"views": 1}),
}


@pytest.fixture(params=KINDS)
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Index]:
    opened = KINDS[request.param](tmp_path, durable=False)
    yield opened
    await opened.close()


def test_every_table_has_a_sample() -> None:
    assert set(SAMPLES) == set(Rows.__dataclass_fields__) - {"dirs"}


@pytest.mark.parametrize("name", SAMPLES)
async def test_a_row_comes_back_as_it_was_given(index: Index, name: str) -> None:
    row, other = SAMPLES[name]
    table: Callable[[Rows], Any] = lambda rows: getattr(rows, name)  # noqa: E731
    made = await index.write(lambda rows: table(rows).add(row))
    assert made == (replace(row, id=made.id) if hasattr(row, "id") else row)
    assert not hasattr(row, "id") or made.id > 0
    found = await index.read(lambda rows: table(rows).find())
    assert found == [made] and [type(getattr(found[0], f)) for f in row.__slots__] == [
        type(getattr(made, f)) for f in row.__slots__
    ]
    changed = replace(made, **other)
    await index.write(lambda rows: table(rows).put(changed))
    assert await index.read(lambda rows: (table(rows).get(), table(rows).count())) == (changed, 1)
    old = {column: getattr(made, column) for column in other}
    for before, new in ((changed, old), (made, old), (made, other)):
        await index.write(lambda rows, before=before, new=new: table(rows).change(before, **new))  # type: ignore[misc]
        assert await index.read(lambda rows: (table(rows).get(), table(rows).count())) == (replace(before, **new), 1)
    with pytest.raises(TakenError):
        await index.write(lambda rows: table(rows).add(made))
    assert await index.read(lambda rows: list(table(rows).each())) == [changed]
    key = {f: getattr(row, f) for f in row.__slots__ if f not in other and getattr(row, f) and f != "id"}
    assert await index.write(lambda rows: table(rows).remove(**key)) == 1
    assert await index.write(lambda rows: table(rows).remove(**key)) == 0
    await index.write(lambda rows: table(rows).put(row))
    assert await index.read(lambda rows: table(rows).count()) == 1, "put makes what is not there"


async def test_conditions_orders_and_limits(index: Index) -> None:
    def fill(rows: Rows) -> None:
        for camera in ("b", "a"):
            for first in (30, 10, 20):
                rows.settled.add(Span(camera, SPOOL, first, first + 5))

    await index.write(fill)

    async def firsts(limit: int | None = None, *, backwards: bool = False, **where: Any) -> list[tuple[str, int]]:
        rows = await index.read(lambda r: r.settled.find(limit, backwards=backwards, **where))
        return [(r.camera, r.first) for r in rows]

    assert await firsts() == [(c, n) for c in "ab" for n in (10, 20, 30)]
    assert await firsts(2, backwards=True, camera="a") == [("a", 30), ("a", 20)]
    assert await firsts(0) == []
    assert await firsts(camera="a", first=Below(30), last=From(25)) == [("a", 20)]
    assert await firsts(camera=OneOf(("a", "c")), first=10) == [("a", 10)]
    assert await firsts(camera=OneOf(())) == [] and len(await firsts(camera=NoneOf(()))) == 6
    assert await firsts(camera=NoneOf(("a",)), first=OneOf((10, 30))) == [("b", 10), ("b", 30)]
    assert await firsts(camera="' OR '1'='1") == []
    assert await index.read(lambda r: r.settled.count(first=From(20))) == 4
    with pytest.raises(KeyError):
        await firsts(nonsense=1)
    with pytest.raises(ValueError, match="everything"):
        await index.write(lambda r: r.settled.remove())


async def test_nothing_of_what_failed_is_there_and_its_neighbours_are(index: Index) -> None:
    def good(n: int) -> Callable[[Rows], object]:
        return lambda rows: rows.gone.add(Gone(b"%d" % n, n))

    def bad(rows: Rows) -> None:
        rows.gone.add(Gone(b"bad", 0))
        rows.gone.remove(at_ns=Below(10**6))
        raise LookupError("on purpose")

    def taken(rows: Rows) -> None:
        rows.gone.add(Gone(b"half", 0))
        rows.gone.add(Gone(b"0", 0))

    jobs = [good(0), bad, good(1), taken, good(2)]
    ended = await asyncio.gather(*(index.write(job) for job in jobs), return_exceptions=True)
    assert [type(e) for e in ended] == [Gone, LookupError, Gone, TakenError, Gone]
    assert [g.hash for g in await index.read(lambda rows: rows.gone.find())] == [b"0", b"1", b"2"]


async def test_what_must_be_unique(index: Index) -> None:
    for name, (row, _) in SAMPLES.items():
        if name in ("accounts", "tokens", "shares"):
            await index.write(lambda rows, n=name, row=row: getattr(rows, n).add(row))  # type: ignore[misc]
            with pytest.raises(TakenError):
                await index.write(lambda rows, n=name, row=row: getattr(rows, n).add(replace(row, id=77)))  # type: ignore[misc]


async def test_an_id_is_not_given_twice(index: Index) -> None:
    note = NoteRow("porch", SPOOL, 1, 2, 3)
    first = await index.write(lambda rows: rows.notes.add(note))
    await index.write(lambda rows: rows.notes.remove(id=first.id))
    assert (await index.write(lambda rows: rows.notes.add(note))).id > first.id


async def test_who_reads_does_not_write(index: Index) -> None:
    with pytest.raises(UnavailableError):
        await index.read(lambda rows: rows.gone.add(Gone(b"h", 1)))
    assert await index.read(lambda rows: rows.gone.count()) == 0


async def test_directories_are_synced_or_nothing_is_there(tmp_path: Path) -> None:
    def run(rows: Rows) -> None:
        rows.dirs.add(str(tmp_path / "nowhere"))
        rows.gone.add(Gone(b"h", 1))

    for kind in KINDS.values():
        opened = kind(tmp_path, durable=True)
        with pytest.raises(OSError, match="nowhere"):
            await opened.write(run)
        assert await opened.read(lambda rows: rows.gone.count()) == 0
        await opened.close()


def an_item(seq: int, **more: Any) -> ItemRow:
    plain = ItemRow("porch", SPOOL, seq, ItemType.CLIP, 1, wall_ns=seq, stored_ns=100 - seq, sha256=b"", bytes=seq)
    return replace(plain, **more)


async def test_items_by_time_size_and_worth(index: Index) -> None:
    stored = [
        an_item(1),
        an_item(2, wall_ns=50),
        an_item(3, wall_ns=51),
        an_item(4, type=ItemType.EVENT, wall_ns=99),
        an_item(5, event=0, type=ItemType.STILL),
        an_item(6, event=0, type=ItemType.STILL, camera="yard"),
        an_item(7, event=2),
        an_item(8, event=0, type=ItemType.STILL, stored_ns=95),
    ]

    def fill(rows: Rows) -> None:
        rows.events.add(EventRow("porch", SPOOL, 1, 10, 0, 0, 0))
        rows.events.add(EventRow("porch", SPOOL, 2, 10, 0, 0, 0, kept=True))
        for one in stored:
            rows.items.add(one)

    await index.write(fill)
    ask = index.read
    assert [i.seq for i in await ask(lambda r: r.items.expendable(9))] == [6, 5, 8, 4, 3, 2, 1], "7 is kept"
    for few in range(8):
        worth = await ask(lambda r, few=few: r.items.expendable(few, head_ns=40))  # type: ignore[misc]
        assert [i.seq for i in worth] == [6, 5, 8, 3, 4, 2, 1][:few]
    old = await ask(lambda r: r.items.expendable(1, camera="porch", stored_ns=Below(97), type=ItemType.CLIP))
    assert old == []
    assert await ask(lambda r: r.items.used()) == (8, 36)
    assert await ask(lambda r: r.items.used(camera="porch", stored_ns=From(96))) == (4, 10)
    assert await ask(lambda r: r.items.used(camera="nobody")) == (0, 0)
    newest = await ask(lambda r: r.items.newest(2, camera="porch", type=ItemType.STILL))
    assert newest == [stored[7], stored[4]]
    last = newest[-1]
    place = (last.wall_ns, last.spool, last.seq)
    assert await ask(lambda r: r.items.newest(9, place, camera="porch", type=ItemType.STILL)) == []
    whole = await ask(lambda r: r.items.newest(9))
    after = await ask(lambda r: r.items.newest(9, (whole[3].wall_ns, whole[3].spool, whole[3].seq)))
    assert after == whole[4:]


async def test_events_newest_first_by_pages(index: Index) -> None:
    def fill(rows: Rows) -> None:
        for number, at_ns in enumerate((5, 7, 7, -3, 7)):
            rows.events.add(EventRow("porch" if number != 2 else "yard", SPOOL, number, at_ns, 0, 0, 0))

    await index.write(fill)
    seen, place = [], None
    while page := await index.read(lambda r, p=place: r.events.newest(2, p, camera=OneOf(("porch",)))):  # type: ignore[misc]
        seen += [e.number for e in page]
        place = (page[-1].at_ns, page[-1].id)
    assert seen == [4, 1, 0, 3]


async def test_a_database_that_is_locked_or_damaged_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "index.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(UnavailableError, match="not a database"):
        open_index(tmp_path)
    with pytest.raises(UnavailableError, match="not a database"), snapshot(tmp_path) as rows:
        rows.items.count()
    (tmp_path / "index.db").unlink()
    newer = SqliteIndex(tmp_path / "index.db")
    await newer.close()
    with sqlite3.connect(tmp_path / "index.db") as conn:
        conn.execute("PRAGMA user_version=9999")
    conn.close()
    with pytest.raises(UnavailableError, match="newer"):
        open_index(tmp_path)


async def test_a_server_runs_on_an_index_that_is_no_database(tmp_path: Path) -> None:
    """All that is done over HTTP with a camera, from its making to its end."""
    kept = MemoryIndex()
    settings = ServerSettings(port=0, store=str(tmp_path / "store"))
    server = CameraServer(settings, notes={}, open_index=lambda root, durable=True: kept)
    await server.start()
    base = server.urls()[0]
    try:
        keys = await server.issue_keys("porch")
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            up = {"Authorization": f"Bearer {keys.token}"}
            for n in range(3):
                async with http.put(f"{base}v1/cam/porch/picture", data=jpeg(n), headers=up) as answer:
                    assert answer.status == 201
            await http.get(base.rstrip("/") + server.join_link())
            async with http.get(base + "api/v1/events") as answer:
                events = (await answer.json())["events"]
            assert [(e["camera"], e["frames"]) for e in events] == [("porch", 3)]
            async with http.get(base.rstrip("/") + events[0]["thumb"]) as answer:
                assert await answer.read() in [jpeg(n) for n in range(3)]
            await server.delete_camera("porch")
            async with http.put(f"{base}v1/cam/porch/picture", data=jpeg(9), headers=up) as answer:
                assert answer.status == 410
            async with http.get(base + "api/v1/events") as answer:
                assert (await answer.json())["events"] == []
    finally:
        await server.close()
    assert not list((tmp_path / "store/items").iterdir()) and not (tmp_path / "store/index.db").exists()
    shutil.rmtree(tmp_path / "store")


@pytest.mark.parametrize("harm", ["locked", "damaged", "half damaged", "emptied", "lost", "newer"])
async def test_a_server_on_an_index_that_is_no_use_says_so_in_one_line(tmp_path: Path, harm: str) -> None:
    settings = ServerSettings(port=0, store=str(tmp_path / "store"))
    server = CameraServer(settings)
    await server.start()
    await server.issue_token("porch")
    await server.close()
    path, holder = tmp_path / "store/index.db", None
    if harm == "damaged":
        path.write_bytes(b"no database at all" * 1000)
    elif harm in ("emptied", "lost"):
        (tmp_path / "store/items/porch").mkdir()  # a new index would know nothing of them, nor of whose they are
        path.write_bytes(b"") if harm == "emptied" else path.unlink()
    elif harm == "half damaged":
        data = path.read_bytes()
        path.write_bytes(data[:4096] + bytes(len(data) - 4096))
    else:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE" if harm == "locked" else "PRAGMA user_version=9999")
    words = {"locked": "locked", "newer": "newer"}.get(harm, "archive rebuild")
    with pytest.raises(UsageError, match=words) as said:
        await CameraServer(settings).start()
    assert said.value.exit_code == 73 and "\n" not in str(said.value)
    if holder is not None:
        holder.close()
    assert path.exists(), "nothing is made anew unasked"
