"""The spool keeps what it promised: over restarts, torn ends, rot, quotas and slow readers."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from agent.errors import UsageError
from agent.frame import Item, ItemType, Worth
from agent.spool.disk import Disk
from agent.spool.record import BLOCK, HEAD
from agent.spool.store import Spool

MIB = 1024 * 1024


def open_spool(folder: Path, *, max_bytes: int = 64 * MIB, sinks: tuple[str, ...] = ("a",), **more) -> Spool:
    return Spool("porch", Disk(folder, max_bytes, sinks, 0.0), **more)


def put(spool: Spool, i: int, worth: Worth = Worth.HEAD, event: int = 1, size: int = 1000) -> Item:
    return spool.put(ItemType.CLIP if event else ItemType.STILL, event, i, b"%d:" % i + b"x" * size, worth)


async def take(spool: Spool, count: int, sink: str = "a") -> list[Item]:
    session = spool.outbox(sink).session()
    return [await asyncio.wait_for(session.take(), 60) for _ in range(count)]


async def test_what_was_put_is_there_after_a_restart_byte_for_byte(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    items = [put(spool, i) for i in range(20)]
    await spool.close()
    spool = open_spool(tmp_path)
    assert await take(spool, 20) == items
    assert spool.next_seq > items[-1].seq
    await spool.close()


async def test_only_what_is_not_acknowledged_comes_again(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    items = [put(spool, i) for i in range(6)]
    spool.outbox("a").ack(2, [(4, 5)])
    await spool.close()
    spool = open_spool(tmp_path)
    assert [i.seq for i in await take(spool, 2)] == [items[2].seq, items[5].seq]
    await spool.close()


async def test_numbers_are_never_used_twice_and_holes_are_declared(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    put(spool, 0)
    await spool.close()
    for path in tmp_path.glob("*.seg"):
        path.unlink()  # what a power cut leaves of a file that was never synced
    spool = open_spool(tmp_path)
    assert put(spool, 1).seq > 1
    declared = spool.outbox("a").dropped()
    assert declared[0][0] == 1 and {why for _, _, why in declared} == {"restart"}
    assert declared[-1][1] == spool.next_seq - 2
    await spool.close()


@pytest.mark.parametrize("cut", [1, 50, 71, 73, 600, 1073])
async def test_a_torn_end_costs_only_the_torn_item(tmp_path: Path, cut: int) -> None:
    spool = open_spool(tmp_path)
    items = [put(spool, i) for i in range(5)]
    await spool.close()
    (path,) = tmp_path.glob("*.seg")
    os.truncate(path, 4 * BLOCK + HEAD.size + len(items[4].payload) - cut)
    spool = open_spool(tmp_path)
    assert await take(spool, 4) == items[:4]
    assert (5, 5) in [(a, min(b, 5)) for a, b, _ in spool.outbox("a").dropped()]
    await spool.close()


async def test_rot_in_the_middle_is_declared_and_blocks_nothing(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    items = [put(spool, i) for i in range(5)]
    await asyncio.sleep(0.1)
    while spool.fresh:
        await asyncio.sleep(0.01)
    (path,) = tmp_path.glob("*.seg")
    with open(path, "r+b") as f:
        f.seek(2 * BLOCK + 500)
        f.write(b"ROT")
    assert await take(spool, 4) == [items[0], items[1], items[3], items[4]]
    assert spool.rotten_items == 1
    await spool.close()
    spool = open_spool(tmp_path)
    assert (3, 3, "corrupt") in spool.outbox("a").dropped()
    await spool.close()


async def test_stills_go_first_when_the_quota_is_reached_and_each_is_declared(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, max_bytes=26 * MIB)
    wanted = []
    for i in range(12):
        put(spool, i, Worth.STILL, 0, MIB)
        wanted.append(put(spool, i, Worth.HEAD, 1, MIB).seq)
    for i in range(12):
        put(spool, i, Worth.BODY, 1, MIB)
        while spool.fresh_bytes > 8 * MIB:
            await asyncio.sleep(0.01)
    await spool.close()
    spool = open_spool(tmp_path, max_bytes=26 * MIB)
    assert spool.disk.shelf.bytes <= 26 * MIB
    kept = {seq for seq, worth in spool.disk.shelf.kept() if worth is Worth.HEAD}
    assert kept == set(wanted), "heads stay while there is anything else"
    gone = {s for a, b, _ in spool.outbox("a").dropped() for s in range(a, b + 1)}
    everything = set(range(1, 37))
    assert {seq for seq, _ in spool.disk.shelf.kept()} | gone >= everything
    await spool.close()


async def test_space_of_what_all_have_is_used_first(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, max_bytes=20 * MIB)
    for i in range(30):
        item = put(spool, i, Worth.HEAD, 1, MIB)
        spool.outbox("a").ack(item.seq)
        while spool.fresh:
            await asyncio.sleep(0.005)
    assert spool.disk.evicted_items == 0
    assert spool.outbox("a").dropped() == []
    assert 10 * MIB < spool.disk.shelf.bytes <= 20 * MIB, "acknowledged items stay until the space is needed"
    await spool.close()


async def test_several_sinks_drain_independently(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, sinks=("a", "b"))
    items = [put(spool, i) for i in range(3)]
    spool.outbox("a").ack(3)
    assert await take(spool, 3, "b") == items
    await asyncio.wait_for(spool.outbox("a").drained(), 1)
    await spool.close()


async def test_the_running_event_goes_before_the_backlog(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    for i in range(5):
        put(spool, i, Worth.BODY, 1)
    await spool.close()
    spool = open_spool(tmp_path)
    session = spool.outbox("a").session()
    now = put(spool, 9, Worth.HEAD, 7)
    assert (await session.take()).seq == now.seq
    assert (await session.take()).seq == 1
    await spool.close()


async def test_two_agents_cannot_have_one_spool(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    with pytest.raises(UsageError, match="another agent has it"):
        Disk(tmp_path, MIB, ("a",), 0.0)
    await spool.close()


async def test_the_ledger_names_what_is_durable(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    spool = open_spool(tmp_path / "s", ledger=ledger)
    items = [put(spool, i) for i in range(3)]
    await spool.close()
    assert ledger.read_text().splitlines() == [f"item porch {i.spool} {i.seq} {i.sha256.hex()}" for i in items]


async def test_memory_is_bounded_when_the_disk_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = open_spool(tmp_path, memory_bytes=10_000)
    free = os.fdatasync
    hold = threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda fd: (hold.wait(5), free(fd))[1])
    for i in range(30):
        put(spool, i)
    assert spool.fresh_bytes <= 10_000
    assert spool.dropped_items == 30 - len(spool.fresh)
    hold.set()
    await spool.close()
    spool = open_spool(tmp_path)
    assert sum(b - a + 1 for a, b, why in spool.outbox("a").dropped() if why == "slow-disk") == 21
    await spool.close()


async def test_an_item_moves_to_another_number_only_when_there_is_room_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = open_spool(tmp_path, memory_bytes=2500)
    first = put(spool, 0)
    while spool.fresh:
        await asyncio.sleep(0.005)
    free, hold = os.fdatasync, threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda fd: (hold.wait(30), free(fd))[1])
    put(spool, 1)
    put(spool, 2)  # memory is full
    spool.outbox("a").refuse(first.seq, "conflict")
    await asyncio.sleep(0.1)
    assert first.seq not in spool.disk.acked["a"]
    hold.set()
    while first.seq not in spool.disk.acked["a"]:
        await asyncio.sleep(0.005)
    moved = await spool.read(spool.next_seq - 1)
    assert moved is not None and moved.payload == first.payload and spool.dropped_items == 0
    await spool.close()


async def test_memory_forgets_what_is_on_disk_with_what_comes_next(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, memory_bytes=10_000)
    for i in range(40):  # four times what memory may hold
        item = put(spool, i)
        async with asyncio.timeout(60):
            while spool.outbox("a").backlog().waiting_items <= i or spool.fresh:
                await asyncio.sleep(0.002)
        assert await spool.read(item.seq) == item
    assert (spool.dropped_items, spool.fresh_bytes) == (0, 0)
    await spool.close()
