"""Every registered sink through the same checks, each with a real other end."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.errors import ConfigError, PermanentError, TransientError
from agent.outbox import MemoryOutbox
from agent.sinks import KINDS, from_url
from tests.conformance.ways import WAYS, Way, expected
from tests.ports import free_port
from tests.server.pictures import put_event
from tests.sinks.runs import running

CONNECTED = [kind for kind in WAYS if kind != "disk"]  # a directory has no line to cut


@pytest.fixture
async def way(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Way]:
    async with WAYS[request.param](tmp_path) as made:
        yield made


every = pytest.mark.parametrize("way", WAYS, indirect=True)
connected = pytest.mark.parametrize("way", CONNECTED, indirect=True)


def filled(events: int = 2, frames: int = 10) -> MemoryOutbox:
    box = MemoryOutbox("porch")
    for number in range(1, events + 1):
        put_event(box, number, time.time_ns() + number * 10_000_000_000, frames)
    return box


def test_no_sink_is_left_out() -> None:
    assert set(WAYS) == set(KINDS)


@every
async def test_every_item_arrives_once(way: Way) -> None:
    box = filled()
    pictures = expected([i for i, _ in box._items.values()])
    names = {f"{i.seq}" for i, _ in box._items.values()}
    async with running(way.sink(), box) as run:
        await run.drained()
        assert run.up.is_set(), "it says when the other end has accepted it"
    assert way.pictures() == pictures, "every picture once, in its order, byte for byte"
    if way.store:
        assert {n.rpartition("/")[2].partition(".")[0] for n in way.arrived()} == names
    assert not [n for n in way.arrived() if n.endswith((".part", ".tmp"))]


@every
async def test_what_comes_later_arrives_too(way: Way) -> None:
    box = MemoryOutbox("porch")
    async with running(way.sink(), box) as run:
        await run.up.wait()
        sent = put_event(box, 1, time.time_ns(), 4)
        await run.drained()
        sent += put_event(box, 2, time.time_ns() + 60_000_000_000, 4)
        await run.drained()
    assert way.pictures() == sent


@connected
@pytest.mark.parametrize("after", [200, 3_000, 20_000, 40_000])
async def test_after_a_cut_everything_is_there_once(way: Way, after: int) -> None:
    box = filled()
    pictures = expected([i for i, _ in box._items.values()])
    assert way.line is not None
    way.line.cut_after = after
    async with running(way.sink(), box) as run:
        for _ in range(5):
            try:
                await run.drained()
                break
            except TransientError:
                await run.again()
    assert way.pictures() == pictures, "nothing lost, and a repeat overwrote itself"
    assert not len(box)


@every
async def test_the_same_again_changes_nothing(way: Way) -> None:
    """As after a power cut that forgot the acknowledgements: a restored outbox, everything is sent again."""
    box = filled()
    again = MemoryOutbox("porch")
    again.spool, again.next_seq, again._items = box.spool, box.next_seq, dict(box._items)
    again._emptied.clear()
    async with running(way.sink(), box) as run:
        await run.drained()
    before = way.arrived()
    async with running(way.sink(), again) as run:
        await run.drained()
    assert way.arrived() == before


@connected
async def test_cancelled_while_the_other_end_is_silent_it_ends(way: Way) -> None:
    assert way.line is not None
    box = MemoryOutbox("porch")
    async with running(way.sink(), box) as run:
        await run.up.wait()
        way.line.hold()
        put_event(box, 1, time.time_ns())
        await asyncio.sleep(0.3)
        run.task.cancel()
        done, _ = await asyncio.wait({run.task}, timeout=20)
        assert done and run.task.cancelled()
        way.line.release()
    assert len(box), "what was not acknowledged is kept"


def remains() -> tuple[set[str], set[str], int]:
    """Open files, threads (those of the loop's own pool stay) and tasks."""
    fds = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            fds.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
        except OSError:
            continue
    threads = {t.name for t in threading.enumerate() if not t.name.startswith("asyncio_")}
    return fds, threads, len(asyncio.all_tasks())


@every
async def test_nothing_of_a_run_remains(way: Way) -> None:
    box = MemoryOutbox("porch")
    async with running(way.sink(), box) as run:  # what is made once, like the loop's pool, is made here
        await run.up.wait()
    before = remains()
    async with running(way.sink(), box) as run:
        await run.up.wait()
        put_event(box, 1, time.time_ns(), close=False)
        await asyncio.sleep(0.3)
    async with asyncio.timeout(60):  # the other end needs a moment to notice
        while any(a - b for a, b in zip(remains()[:2], before[:2], strict=True)) or remains()[2] > before[2]:
            await asyncio.sleep(0.05)


@connected
async def test_nobody_there_is_a_matter_of_time(way: Way) -> None:
    assert way.line is not None
    port = free_port()
    url = way.settings["url"].replace(str(way.line.port), str(port))
    async with running(way.sink(url=url), filled()) as run:
        error = await run.ended()
        assert not run.up.is_set()
    assert type(error) is TransientError
    assert str(error).startswith(run.sink.label) and str(port) in str(error)


@connected
async def test_a_refused_login_is_permanent_and_shows_no_secret(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert way.wrong is not None
    sink, box = way.sink(**way.wrong), filled()
    async with running(sink, box) as run:
        error = await run.ended()
        assert not run.up.is_set()
    assert type(error) is PermanentError, repr(error)
    kept = len(box)
    assert kept and not box.dropped_items, "nothing is given up for it"
    logs = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("agent"))
    for text in (str(error), repr(error), sink.label, logs):
        assert way.secret not in text
    assert way.secret not in repr(sink) or "://" in str(way.wrong.get("url", "")), "only an address may carry one"


@connected
@pytest.mark.parametrize("address", ["", "nonsense", "gopher://host", "http://", "ftp://host:99999", "http://[::1"])
async def test_an_address_that_is_none_is_an_error_of_the_file(way: Way, address: str) -> None:
    with pytest.raises(ConfigError):
        way.sink(url=address)


@pytest.mark.parametrize("url", ["ws://h", "wss://h:1", "http://h", "https://h/x", "ftp://u:p@h/d", "/tmp", "~/x"])
def test_an_address_alone_tells_its_sink(url: str) -> None:
    assert from_url(url).label.rstrip("/") in url.replace("u:p@", "").replace("/d", "").replace("/x", "") + url


@pytest.mark.parametrize("url", ["", "host", "gopher://u:secret-1@h", "ftp://:secret-1@"])
def test_an_address_that_tells_none(url: str) -> None:
    with pytest.raises(ConfigError, match=r"expected ") as e:
        from_url(url)
    assert "secret-1" not in str(e.value)
