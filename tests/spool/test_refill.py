"""What the other end lost is sent again as far as it is here, and the rest is declared: nobody waits for ever."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.frame import ItemType, Worth
from agent.outbox import MemoryOutbox
from agent.spool.disk import SMALL_BYTES, Disk
from agent.spool.drain import SpoolOutbox
from agent.spool.record import BLOCK
from agent.spool.store import Spool
from agent.spool.tombstones import NOT_OURS

QUOTA = SMALL_BYTES + 64 * BLOCK


def open_spool(folder: Path, *sinks: str) -> Spool:
    return Spool("porch", Disk(folder, QUOTA, sinks or ("a",), 0.0))


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.005)


async def deliver(spool: Spool, count: int, *sinks: str) -> None:
    """Items, each delivered to the sinks before the next."""
    for _ in range(count):
        item = spool.put(ItemType.CLIP, 1, spool.next_seq, b"x" * 3000, Worth.HEAD)
        await until(lambda: not spool.fresh)
        for sink in sinks:
            spool.outbox(sink).ack(0, [(item.seq, item.seq)])


def here(spool: Spool) -> list[int]:
    return [seq for seq, _ in spool.disk.shelf.kept()]


async def test_a_server_from_an_old_backup_gets_what_is_here_and_is_told_of_the_rest(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    outbox = spool.outbox("a")
    await deliver(spool, 200, "a")
    kept = here(spool)
    assert kept[-1] == 200 and 10 < kept[0] < 190, "written over"
    assert outbox.idle and outbox.backlog().missing == {}
    outbox.resume(10)
    assert not outbox.idle
    session = outbox.session()
    for seq in kept:
        assert (await asyncio.wait_for(session.take(), 30)).seq == seq
    await until(outbox.dropped)
    assert outbox.dropped() == [(11, kept[0] - 1, "quota")]
    assert outbox.backlog().missing == {"quota": kept[0] - 11}
    drained = asyncio.ensure_future(outbox.drained())
    outbox.ack(10, [(kept[0], 200)])
    await asyncio.wait_for(drained, 30)
    assert outbox.idle
    await spool.close()


async def test_items_that_only_memory_has_are_not_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = open_spool(tmp_path)
    monkeypatch.setattr(spool.disk, "write", lambda item, worth: (_ for _ in ()).throw(OSError(5, "sick")))
    items = [spool.put(ItemType.CLIP, 1, i, b"x", Worth.HEAD) for i in range(5)]
    await until(lambda: spool.write_errors)
    spool.outbox("a").resume(2)
    done = asyncio.Event()
    spool._jobs.put(lambda: spool._call(done.set))
    await asyncio.wait_for(done.wait(), 30)
    assert spool.outbox("a").dropped() == []
    monkeypatch.undo()
    await until(lambda: not spool.fresh)
    assert here(spool) == [i.seq for i in items]
    await spool.close()


async def test_a_new_sink_begins_with_what_is_here(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    await deliver(spool, 200, "a")
    kept = here(spool)
    await spool.close()
    for sinks in (("a", "b"), ("c",), ("a", "d")):  # beside it, and in its place
        spool = open_spool(tmp_path, *sinks)
        new = spool.outbox(sinks[-1])
        assert new.backlog().waiting_items == len(kept)
        assert new.dropped() == [] == spool.outbox(sinks[0]).dropped()
        new.ack(0, [(kept[0], 200)])
        assert new.idle
        await spool.close()


async def test_a_sink_that_comes_back_goes_on(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, "a", "b")
    await deliver(spool, 5, "a", "b")
    await spool.close()
    await open_spool(tmp_path, "b").close()
    spool = open_spool(tmp_path, "a", "b")
    assert spool.outbox("a").idle
    await spool.close()


async def test_numbers_that_are_not_ours_are_not_missing(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    spool.disk.give_up(5, 10**8, NOT_OURS)
    assert spool.outbox("a").backlog().missing == {}
    await spool.close()


async def test_a_memory_outbox_declares_what_the_other_end_lost() -> None:
    outbox = MemoryOutbox("porch")
    for i in range(6):
        outbox.put(ItemType.CLIP, 1, i, b"x")
    outbox.ack(4)
    outbox.resume(1, [(3, 3)])
    assert outbox.dropped() == [(2, 2, "quota"), (4, 4, "quota")]
    assert (outbox.backlog().missing, outbox.backlog().complete_to) == ({"quota": 2}, 1)
    outbox.resume(6)
    assert outbox.dropped() == [] and outbox.idle


def memory(_: Path) -> MemoryOutbox:
    return MemoryOutbox("porch")


def durable(folder: Path) -> SpoolOutbox:
    return open_spool(folder).outbox("a")


@pytest.mark.parametrize("make", [memory, durable])
async def test_a_session_that_ended_takes_no_memory(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    """Else the line of a sink that is away grows with each item, long after the item was given up."""
    outbox = make(tmp_path)
    session = outbox.session()
    gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None
    if isinstance(outbox, SpoolOutbox):
        await outbox._spool.close()
