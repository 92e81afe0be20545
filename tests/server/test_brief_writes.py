"""Brief transactions of a store without syncs: by the loop itself, unless that could hold it up."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent.server.index import Rows, TakenError
from agent.server.index.rows import Gone
from agent.server.sqlite import SqliteIndex


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[SqliteIndex]:
    opened = SqliteIndex(tmp_path / "index.db", durable=False)
    await quick(opened)
    yield opened
    await opened.close()


async def quick(index: SqliteIndex) -> None:
    """Until the index knows that its transactions are short."""
    for _ in range(500):
        if await by_loop(index):
            return
    raise AssertionError("never by the loop")


async def by_loop(index: SqliteIndex) -> bool:
    return await index.write(lambda _: threading.get_ident(), brief=True) == threading.get_ident()


def add(name: bytes) -> Callable[[Rows], object]:
    return lambda rows: rows.gone.add(Gone(name, 1))


async def names(index: SqliteIndex) -> list[bytes]:
    return [g.hash for g in await index.read(lambda rows: rows.gone.find())]


async def test_it_is_there_for_readers_or_nothing_of_it(index: SqliteIndex) -> None:
    def bad(rows: Rows) -> None:
        rows.gone.add(Gone(b"bad", 1))
        raise LookupError("on purpose")

    await index.write(add(b"a"), brief=True)
    assert await names(index) == [b"a"]
    with pytest.raises(LookupError):
        await index.write(bad, brief=True)
    with pytest.raises(TakenError):
        await index.write(add(b"a"), brief=True)
    await index.write(add(b"b"), brief=True)
    assert await names(index) == [b"a", b"b"] and await by_loop(index)


async def test_only_where_no_sync_is_made_and_it_was_said_to_be_brief(index: SqliteIndex, tmp_path: Path) -> None:
    assert await index.write(lambda _: threading.get_ident()) != threading.get_ident()
    durable = SqliteIndex(tmp_path / "durable.db")
    for _ in range(100):
        assert not await by_loop(durable)
    await durable.close()


async def test_none_overtakes_what_the_writer_has(index: SqliteIndex) -> None:
    order: list[str] = []
    go = threading.Event()

    def slow(rows: Rows) -> None:
        go.wait(10)
        order.append("slow")

    first = asyncio.ensure_future(index.write(slow))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(index.write(lambda _: order.append("brief"), brief=True))
    await asyncio.sleep(0.05)
    assert not second.done(), "the loop does not wait for the writer either"
    go.set()
    await asyncio.gather(first, second)
    assert order == ["slow", "brief"]


async def test_the_loop_waits_for_no_other_process(index: SqliteIndex, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "index.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    write = asyncio.ensure_future(index.write(add(b"a"), brief=True))
    begun = time.monotonic()
    await asyncio.sleep(0.05)
    assert not write.done() and time.monotonic() - begun < 5
    other.execute("COMMIT")
    other.close()
    await write
    assert await names(index) == [b"a"]


async def test_a_disk_that_became_slow_is_the_writers_again(index: SqliteIndex) -> None:
    await index.write(lambda _: time.sleep(0.1), brief=True)
    assert not await by_loop(index)
    await quick(index)


async def test_nothing_is_begun_while_it_is_closed(tmp_path: Path) -> None:
    index = SqliteIndex(tmp_path / "index.db", durable=False)
    await quick(index)
    closing = asyncio.ensure_future(index.close())
    await asyncio.sleep(0)
    late = asyncio.ensure_future(index.write(lambda _: None, brief=True))
    await closing
    assert not late.done()
    late.cancel()
