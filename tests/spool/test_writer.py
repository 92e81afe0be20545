"""The spool's thread: it outlasts every error of disk and ledger, and a bug ends the agent, not just the thread."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent import status
from agent.frame import Item, ItemType, Worth
from agent.pipeline import Pipeline
from agent.sinks import Feed
from agent.sources import Publish
from agent.spool.disk import SMALL_BYTES, Disk
from agent.spool.record import BLOCK
from agent.spool.store import Spool

MIB = 1024 * 1024


def open_spool(folder: Path, max_bytes: int = 64 * MIB, **more: Any) -> Spool:
    return Spool("porch", Disk(folder, max_bytes, ("idle",), 0.0), **more)


def put(spool: Spool, i: int, worth: Worth = Worth.HEAD, event: int = 1) -> Item:
    return spool.put(ItemType.CLIP, event, i, b"%d:" % i + b"x" * 1000, worth)


async def kept(spool: Spool) -> None:
    async with asyncio.timeout(30):
        while spool.fresh:
            await asyncio.sleep(0.005)


def fail_once(monkeypatch: pytest.MonkeyPatch, name: str, when: Callable[..., bool] = lambda *_: True) -> list[int]:
    """The next such call on a segment fails; the list becomes [1] then."""
    sound, failed = getattr(os, name), [0]

    def sick(fd: int, *args: Any) -> Any:
        if not failed[0] and os.readlink(f"/proc/self/fd/{fd}").endswith(".seg") and when(fd):
            failed[0] += 1
            raise OSError(errno.EIO, "Input/output error")
        return sound(fd, *args)

    monkeypatch.setattr(os, name, sick)
    return failed


TOO_MANY = 2**40  # a bug elsewhere: there is no room for such a number in a record


async def test_a_bug_is_told_once_and_ends_whoever_waits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = open_spool(tmp_path)
    good = put(spool, 1)
    await kept(spool)
    put(spool, 2, event=TOO_MANY)
    with pytest.raises(Exception, match="requires 0 <= number") as e:
        await asyncio.wait_for(spool.run(), 30)
    assert type(e.value).__name__ == "error"
    put(spool, 3)
    await spool.close()
    told = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(told) == 1 and "nothing is kept any more" in told[0].message and told[0].exc_info
    assert "nothing is kept any more" in spool.error
    spool = open_spool(tmp_path)
    assert await spool.read(good.seq) == good
    await spool.close()


class Still:
    """A camera without pictures."""

    label = "still"

    async def run(self, publish: Publish) -> None:
        await asyncio.Event().wait()


class Idle:
    """A server that never answers."""

    label = "idle"

    async def run(self, feed: Feed) -> None:
        await asyncio.Event().wait()


async def test_a_camera_whose_spool_broke_ends_with_the_error(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    pipeline = Pipeline("porch", Still(), [Idle()], analyse=None, spool=spool)
    run = asyncio.create_task(pipeline.run())
    await asyncio.sleep(0)
    put(spool, 1, event=TOO_MANY)
    with pytest.raises(ExceptionGroup):
        await asyncio.wait_for(run, 30)
    await spool.close()


async def test_status_tells_how_much_the_spool_takes(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    pipeline = Pipeline("porch", Still(), [Idle()], analyse=None, spool=spool)
    put(spool, 1)
    await kept(spool)
    told = status.camera(pipeline)
    assert told["spool_bytes"] == [SMALL_BYTES + BLOCK, 64 * MIB]
    assert "spool: 0.0 of 67.1 MB; what is delivered stays" in status.text([told])
    await spool.close()


async def test_a_ledger_that_takes_nothing_stops_nothing(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, ledger=Path("/dev/full"))
    items = [put(spool, 1)]
    await kept(spool)
    items.append(put(spool, 2))
    await kept(spool)
    spool.give_up(77, "corrupt")
    assert spool.write_errors and spool._writer.is_alive()
    await spool.close()
    spool = open_spool(tmp_path)
    assert [await spool.read(i.seq) for i in items] == items
    await spool.close()


async def test_what_was_durable_when_another_sync_failed_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger"
    spool = open_spool(tmp_path / "s", ledger=ledger)
    failed = fail_once(monkeypatch, "fdatasync", lambda fd: "body" in os.readlink(f"/proc/self/fd/{fd}"))
    while not failed[0] or spool.fresh:  # until a head and a body met in one sync, or each had its own
        put(spool, 1, Worth.HEAD)
        put(spool, 2, Worth.BODY)
        await kept(spool)
    everything = list(range(1, spool.next_seq))
    assert [seq for seq, _ in spool.disk.shelf.sizes()] == everything
    assert sorted(int(line.split()[3]) for line in ledger.read_text().splitlines()) == everything
    await spool.close()


async def test_without_durability_an_error_loses_nothing_that_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = open_spool(tmp_path, durability="none")
    items = [put(spool, i) for i in range(5)]
    await kept(spool)
    failed = fail_once(monkeypatch, "pwritev")
    items += [put(spool, i) for i in range(5, 8)]
    await kept(spool)
    assert failed == [1]
    assert [await spool.read(i.seq) for i in items] == items
    await spool.close()


async def test_the_ledger_names_what_had_to_go(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    spool = open_spool(tmp_path / "s", SMALL_BYTES + 32 * BLOCK, ledger=ledger)
    for i in range(40):
        put(spool, i)
        await kept(spool)
    spool.give_up(40, "corrupt")
    await spool.close()
    here = [seq for seq, _ in spool.disk.shelf.kept()]
    lines = [line.split() for line in ledger.read_text().splitlines()]
    dropped = [(int(w[3]), int(w[4]), w[5]) for w in lines if w[0] == "dropped"]
    assert dropped[0][0] == 1 and dropped[-2][1] == here[0] - 1 and {why for _, _, why in dropped[:-1]} == {"quota"}
    assert dropped[-1] == (40, 40, "corrupt")
