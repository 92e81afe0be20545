"""A hundred agents at one server: acknowledgements in time, and no stampede after a restart."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from agent.clock import SystemClock
from agent.frame import ItemType
from agent.hub import Hub
from agent.outbox import MemoryOutbox
from agent.sinks import Feed
from agent.sinks.websocket import WebSocketSink
from agent.supervise import Health, supervise
from tests.faults.agent import TOKEN
from tests.faults.rig import rig
from tests.faults.server import names

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]
CAMERAS, SIZE = 100, 60_000


class Measured(MemoryOutbox):
    """Notes how long each item took to be acknowledged."""

    def __init__(self, camera: str) -> None:
        super().__init__(camera)
        self.made: dict[int, float] = {}
        self.took: list[float] = []

    def make(self) -> None:
        self.made[self.put(ItemType.STILL, 0, time.time_ns(), b"\xff\xd8" + os.urandom(SIZE)).seq] = time.monotonic()

    def _forget(self, seq: int) -> None:
        super()._forget(seq)
        self.took.append(time.monotonic() - self.made.pop(seq))


async def test_a_fleet(tmp_path: Path) -> None:
    with rig(tmp_path) as one:
        one.args["server"] = ["--cameras", str(CAMERAS)]
        one.start("server")
        await asyncio.to_thread(one.listening)
        boxes = [Measured(name) for name in names(CAMERAS)]
        healths = [Health() for _ in boxes]
        ups: list[float] = []

        def up(health: Health) -> None:
            if not health.up:
                ups.append(time.monotonic())
            health.worked("fleet", SystemClock())

        def work(box: Measured, health: Health) -> asyncio.Task[None]:
            sink = WebSocketSink(url=f"ws://127.0.0.1:{one.port}", token=TOKEN)
            feed = Feed(box.camera, box, Hub(), lambda: up(health))
            return asyncio.create_task(supervise(box.camera, lambda: sink.run(feed), health))

        tasks = [work(box, health) for box, health in zip(boxes, healths, strict=True)]
        while len(ups) < CAMERAS:
            await asyncio.sleep(0.1)
        for _ in range(20):
            begin = time.monotonic()
            for i, box in enumerate(boxes):
                box.make()
                await asyncio.sleep(max(0.0, begin + (i + 1) / CAMERAS - time.monotonic()))
        async with asyncio.timeout(60):
            await asyncio.gather(*(box.drained() for box in boxes))
        took = sorted(t for box in boxes for t in box.took)
        p50, p99 = took[len(took) // 2], took[int(len(took) * 0.99)]
        print(f"{len(took)} items of {CAMERAS} cameras: ack p50 {p50 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms")
        ups.clear()
        await asyncio.to_thread(one.kill, "server")
        one.start("server")
        async with asyncio.timeout(120):
            while len(ups) < CAMERAS:
                await asyncio.sleep(0.05)
        spread = sorted(ups)
        second = max(sum(a <= b < a + 1 for b in spread) for a in spread)
        print(f"after a restart back within {spread[-1] - spread[0]:.1f} s, at most {second} in a second")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert p99 <= 2.0 and spread[-1] - spread[0] >= 10.0
