"""Bad lines, copied spools, rotten disks and old backups between the real sink and the real server."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agent.errors import TransientError
from agent.frame import Codec, Frame, ItemType, Worth
from agent.hub import Hub
from agent.media import clip
from agent.server.app import CameraServer, ServerSettings
from agent.sinks import Feed, uplink
from agent.sinks.websocket import WebSocketSink
from agent.spool.disk import Disk
from agent.spool.store import Spool
from agent.supervise import Health, supervise
from tests.faults import planted
from tests.faults.oracle import judge
from tests.faults.rig import Proxy

MIB = 1024 * 1024


class Hasty:
    """A clock whose pauses are short."""

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        return time.time_ns()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 20)


class Pair:
    """A server, a proxy before it, and an agent's spool with its sink."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self.health = Health()
        self.hub = Hub()
        self.ended = False
        self._tasks: list[asyncio.Task[None]] = []

    async def serve(self) -> None:
        self.server = CameraServer(ServerSettings(port=0, store=str(self.folder / "store")), notes={})
        await self.server.start()

    async def start(self) -> None:
        await self.serve()
        self.token = await self.server.issue_token("cam1")
        self.proxy = Proxy(self.server.port)
        await self.proxy.start()
        self.spool = self.open("spool")
        self.send(self.spool, self.health)

    def open(self, name: str) -> Spool:
        return Spool("cam1", Disk(self.folder / name, 512 * MIB, ("a",), 0.0), ledger=self.ledger)

    def send(self, spool: Spool, health: Health) -> None:
        url = f"ws://127.0.0.1:{self.proxy.port}"
        feed = Feed("cam1", spool.outbox("a"), self.hub, lambda: health.worked("test", Hasty()))
        sink = WebSocketSink(url=url, token=self.token)
        job = supervise("test", lambda: sink.run(feed), health, clock=Hasty(), rng=random.Random(3))
        self._tasks.append(asyncio.create_task(job))

    async def put(self, count: int, spool: Spool | None = None, size: int = 3000, event: int = 1) -> None:
        for i in range(count):
            frame = Frame(Codec.JPEG, b"\xff\xd8" + os.urandom(size), True, i, time.time_ns(), i)
            (spool or self.spool).put(ItemType.CLIP, event, frame.wall_ns, clip.pack((frame,)), Worth.HEAD)
            await asyncio.sleep(0.003)

    async def arrived(self, spool: Spool | None = None, stuck_s: float = 30) -> bool:
        """Whether everything was delivered; not, if nothing was acknowledged for so long."""
        outbox = (spool or self.spool).outbox("a")
        progress = -1
        while progress != outbox.progress:
            progress = outbox.progress
            try:
                async with asyncio.timeout(stuck_s):
                    await outbox.drained()
                    return True
            except TimeoutError:
                continue
        return False

    async def pause(self) -> None:
        """The agent stops."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def end(self) -> dict[str, Any]:
        self.ended = True
        await self.pause()
        await self.spool.close()
        await self.proxy.close()
        await self.server.close()
        return judge(self.folder / "store", self.ledger)


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[Pair]:
    one = Pair(folder)
    await one.start()
    try:
        yield one
    finally:
        if not one.ended:
            await one.end()


FAULTS = [("refuse", 0), ("cut", 300), ("cut", 9000), ("cut", 70_000), ("deaf", 0), ("hang", 0), ("garbage", 0)]


@pytest.mark.parametrize(("mode", "after"), [*FAULTS, ("double", 0)])
async def test_a_bad_line_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, after: int
) -> None:
    monkeypatch.setattr(uplink, "STUCK_S", 0.8)
    async with pair(tmp_path) as one:
        await one.put(5)
        assert await one.arrived()
        one.proxy.mode, one.proxy.after = mode, after
        one.proxy.cut()
        await one.put(60)
        await asyncio.sleep(1.0)
        if mode != "hang":
            one.proxy.cut()  # a line that hangs stays as it is: the agent has to find out by itself
        one.proxy.mode = "pass"
        await one.put(5)
        assert await one.arrived(), one.health.error
        found = await one.end()
        assert found["ok"] and (found["promised"], found["stored"], found["told"]) == (70, 70, 0), found


async def test_lines_that_break_all_the_time(tmp_path: Path) -> None:
    rng = random.Random(11)
    async with pair(tmp_path) as one:
        for _ in range(25):
            one.proxy.mode, one.proxy.after = rng.choice(FAULTS[:5])
            one.proxy.cut()
            await one.put(8, size=20_000)
        one.proxy.mode = "pass"
        one.proxy.cut()
        assert await one.arrived(), one.health.error
        found = await one.end()
        assert found["ok"] and (found["promised"], found["stored"], found["told"]) == (200, 200, 0), found


async def test_a_server_of_an_old_backup_is_filled_again(tmp_path: Path) -> None:
    async with pair(tmp_path) as one:
        await one.put(10)
        assert await one.arrived()
        await one.server.close()
        shutil.copytree(tmp_path / "store", tmp_path / "backup")
        await one.serve()
        one.proxy._to = one.server.port
        await one.put(30)
        assert await one.arrived()
        await one.server.close()
        shutil.rmtree(tmp_path / "store")
        (tmp_path / "backup").rename(tmp_path / "store")
        await one.serve()
        one.proxy._to = one.server.port
        await asyncio.sleep(0.5)
        await one.put(1)
        assert await one.arrived()
        found = await one.end()
        assert found["ok"] and found["stored"] == 41, found


async def test_two_agents_with_one_spool_lose_nothing(tmp_path: Path) -> None:
    async with pair(tmp_path) as one:
        await one.put(10)
        await one.arrived()
        await one.pause()
        await one.spool.close()
        shutil.copytree(tmp_path / "spool", tmp_path / "copy")
        # As an exact image of a card would be: nothing tells the copy from the original.
        (tmp_path / "copy" / "place").unlink()
        for path in (tmp_path / "copy").glob("*.seg"):
            path.unlink()
        first, second = one.open("spool"), one.open("copy")
        assert first.id == second.id and first.next_seq == second.next_seq
        one.spool = first
        await one.put(10, first)
        await one.put(10, second)
        one.send(first, one.health)
        assert await one.arrived(first)
        await one.pause()
        one.send(second, Health())
        await asyncio.sleep(1.0)
        await one.put(5, second)
        assert await one.arrived(second)
        await second.close()
        found = await one.end()
        # The ledger has each number of both twice: ask for the contents instead.
        stored = {p.read_bytes() for p in (tmp_path / "store" / "items").rglob("*.clip")}
        assert len(stored) == 35 and found["dup"] == found["torn"] == 0, found


async def test_a_copied_spool_is_noticed_at_its_start(tmp_path: Path) -> None:
    first = Spool("cam1", Disk(tmp_path / "a", MIB, ("a",), 0.0))
    first.put(ItemType.CLIP, 1, 0, b"x" * 100, Worth.HEAD)
    await first.close()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    again = Spool("cam1", Disk(tmp_path / "a", MIB, ("a",), 0.0))
    copy = Spool("cam1", Disk(tmp_path / "b", MIB, ("a",), 0.0))
    assert not again.disk.copied and again.next_seq == 2
    assert copy.disk.copied and copy.id == again.id and copy.next_seq > 1 << 26
    assert copy.outbox("a").dropped() == [], "the numbers between may be the other one's"
    assert (await copy.outbox("a").session().take()).seq == 1
    copy.outbox("a").ack(1)
    await asyncio.wait_for(copy.outbox("a").drained(), 60)
    await again.close()
    await copy.close()


async def test_what_is_given_up_while_the_line_is_up_is_declared_at_once(tmp_path: Path) -> None:
    async with pair(tmp_path) as one:
        await one.put(3)
        assert await one.arrived()
        lost = one.spool.put(ItemType.CLIP, 1, time.time_ns(), bytes(33 * MIB), Worth.HEAD)  # more than memory may hold
        async with asyncio.timeout(60):
            while (await one.server._archive.acks("cam1", one.spool.id))[0] < lost.seq:
                await asyncio.sleep(0.05)
        assert one.health.up, "without a new session"
        assert (await one.end())["ok"]


async def test_a_server_that_says_nothing_any_more_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uplink, "SILENCE_S", 0.5)
    monkeypatch.setattr(uplink, "LOOK_S", 0.1)
    left = asyncio.Event()

    async def mute(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(autoping=False)
        await ws.prepare(request)
        await ws.send_str('{"t": "welcome", "ack": 0}')
        async for _ in ws:
            pass
        left.set()
        return ws

    app = web.Application()
    app.router.add_get("/{path:.*}", mute)
    runner = web.AppRunner(app)
    await runner.setup()
    await (site := web.TCPSite(runner, "127.0.0.1", 0)).start()
    spool = Spool("cam1", Disk(tmp_path, MIB, ("a",), 0.0))
    try:
        sink = WebSocketSink(url=f"ws://127.0.0.1:{runner.addresses[0][1]}", token="x")
        async with asyncio.timeout(30):
            with pytest.raises(TransientError, match=r"silent for 0\.5 s"):
                await sink.run(Feed("cam1", spool.outbox("a"), Hub(), lambda: None))
            await left.wait()
    finally:
        await spool.close()
        await site.stop()
        await runner.cleanup()


async def rotten(folder: Path) -> dict[str, Any]:
    """An item rots on the agent's disk before it is sent."""
    async with pair(folder) as one:
        one.proxy.mode = "refuse"
        one.proxy.cut()
        await one.put(10)
        while one.spool.fresh:
            await asyncio.sleep(0.01)
        path = max((folder / "spool").glob("*.seg"), key=lambda p: p.stat().st_size)
        with open(path, "r+b") as f:
            f.seek(path.stat().st_size // 2 + 1500)
            f.write(b"ROT")
        one.proxy.mode = "pass"
        assert await one.arrived()
        for _ in range(300):  # the gap is declared when there is nothing else to say
            found = judge(folder / "store", one.ledger)
            if found["stored"] + found["told"] == found["promised"]:
                break
            await asyncio.sleep(0.1)
        return await one.end()


async def test_a_rotten_item_is_declared_and_the_rest_arrives(tmp_path: Path) -> None:
    found = await rotten(tmp_path)
    assert found["ok"] and (found["promised"], found["stored"], found["told"]) == (10, 9, 1), found


# --- and the suite sees it when something is wrong ---


async def broken_line(folder: Path, stuck_s: float) -> bool:
    async with pair(folder) as one:
        one.proxy.mode = "refuse"
        await one.put(20)
        await asyncio.sleep(1.0)
        one.proxy.mode, one.proxy.after = "cut", 30_000
        await one.put(30, size=20_000)
        one.proxy.mode = "pass"
        done = await one.arrived(stuck_s=stuck_s)
        return done and bool((await one.end())["ok"])


@pytest.mark.parametrize("fault", ["", "delete-early", "give-up", "late-digest"])
async def test_planted_faults_are_found_by_bad_lines(tmp_path: Path, fault: str) -> None:
    with planted.only(fault):
        well = (
            (await rotten(tmp_path))["ok"]
            if fault == "late-digest"
            else await broken_line(tmp_path, 5 if fault else 30)
        )
    assert well == (fault == ""), f"nobody would have noticed {fault}"
