"""The product's agent with a camera that needs no eyes: events that follow each other, every frame different.

    python -m tests.faults.agent --spool DIR --url ws://HOST:PORT --ledger FILE --count N

Makes items until the ledger names N of them over all its lives, delivers everything, and ends. `--break NAME` plants a
fault (tests/faults/planted.py), so that the suite can be seen to find it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

from agent.app import Agent, AgentConfig, CameraConfig
from agent.frame import Codec, Frame
from agent.motion import MotionSettings
from agent.recorder import EventSettings
from agent.sinks.http import HttpSink
from agent.sinks.websocket import WebSocketSink
from agent.sources import Publish
from agent.spool.settings import SpoolSettings
from tests.faults import planted

CAMERA = "cam1"
TOKEN = "of-this-test"
EVENT_S = 1.5


@dataclass
class Synthetic:
    """A source of numbered frames that look like JPEGs to a program."""

    fps: float
    size: int
    frames: Path | None = None
    label: str = "synthetic"

    async def run(self, publish: Publish) -> None:
        body = random.Random(1).randbytes(self.size)
        index = 0
        while True:
            wall_ns = time.time_ns()
            data = b"\xff\xd8" + f"{wall_ns} {index} ".encode() + body
            if self.frames:
                with open(self.frames, "a") as f:
                    f.write(f"{index} {wall_ns}\n")
            publish(Frame(Codec.JPEG, data, True, time.monotonic_ns(), wall_ns, index))
            index += 1
            await asyncio.sleep(1 / self.fps)


def promised(ledger: Path) -> int:
    return sum(line.startswith("item ") for line in ledger.read_text().splitlines()) if ledger.exists() else 0


async def work(a: argparse.Namespace) -> None:
    sink = WebSocketSink if a.way == "websocket" else HttpSink
    config = AgentConfig(
        (
            CameraConfig(
                CAMERA,
                Synthetic(a.fps, a.size, Path(a.fire + ".frames") if a.fire else None),
                MotionSettings(enabled=False),
                EventSettings(pre_roll_s=2.0 if a.fire else 0.3, post_roll_s=0.2, merge_gap_s=0.2),
            ),
        ),
        (sink(url=a.url, token=a.token),),
        spool=SpoolSettings(path=a.spool, min_free_percent=0, max_mib=a.quota_mib),
    )
    agent = Agent(config)
    pipeline = agent.pipelines[0]
    until = asyncio.Event()

    async def script() -> None:
        if a.fire:
            while not pipeline.ways[0].health.up:
                await asyncio.sleep(0.05)
            await asyncio.sleep(3.0)
            pipeline.record_for(60_000_000_000)
            Path(a.fire + ".new").write_text(str(time.time_ns()))
            os.replace(a.fire + ".new", a.fire)
            await asyncio.Event().wait()
        while not pipeline.hub.latest:
            await asyncio.sleep(0.01)
        ends_s = 0.0
        while promised(Path(a.ledger)) < a.count:
            if time.monotonic() > ends_s:
                pipeline.record_for(round(EVENT_S * 1e9))
                ends_s = time.monotonic() + EVENT_S * 1.4
            await pipeline.commands["snapshot"]({})
            await asyncio.sleep(0.05)
        pipeline.armed = False
        pipeline._asked_until_ns = 0
        pipeline.recorder.end("stop")
        await asyncio.gather(*(way.outbox.drained() for way in pipeline.ways))
        until.set()

    job = asyncio.create_task(script())
    try:
        await agent.run(until)
        await job
    finally:
        job.cancel()
        await agent.close()


def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser()
    for name in ("--spool", "--url", "--ledger"):
        p.add_argument(name, required=True)
    p.add_argument("--count", type=int, required=True)
    p.add_argument("--token", default=TOKEN)
    p.add_argument("--fire", default="", help="fire one event after 4 s, and write when into this file")
    p.add_argument("--fps", type=float, default=40)
    p.add_argument("--size", type=int, default=4000)
    p.add_argument("--quota-mib", type=int, default=64)
    p.add_argument("--way", choices=("websocket", "http"), default="websocket")
    p.add_argument("--break", dest="brk", default="")
    a = p.parse_args(argv)
    a.url = ("ws" if a.way == "websocket" else "http") + a.url[a.url.index("://") :]
    os.environ["CAMERA_AGENT_LEDGER"] = a.ledger
    os.environ.setdefault("RUNTIME_DIRECTORY", os.path.dirname(a.ledger))
    planted.plant(a.brk)
    asyncio.run(work(a))


if __name__ == "__main__":
    main()
