"""Cameras cut off for 10 s at random moments, 100 times, in three ways: how long after the end is the first picture?"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from agent.clock import SystemClock
from agent.frame import Frame
from agent.media.footage import Footage, open_footage
from agent.simulate import SimulatedCamera
from agent.sources.mjpeg import MjpegSource
from agent.supervise import Health, supervise
from bench.footage import street

OUTAGE_S = 10.0
GOAL_S = 3.0
ROUNDS = 4
AT_ONCE = {"restarted": 9, "silent": 8, "unplugged": 8}
HOST, GUEST = "10.231.77.1", "10.231.77.2"
HEAR_S = 30.0
CLOCK = SystemClock()

Cut = Callable[[bool], Awaitable[None]]


class Viewer:
    """A camera's source as the agent runs it; remembers when the last picture came."""

    def __init__(self, url: str) -> None:
        self.health = Health()
        self.last_s = 0.0
        self._source = MjpegSource(url)
        self._came = asyncio.Event()
        self.task = asyncio.create_task(supervise(url, self._run, self.health, once=True, eager=True))

    async def _run(self) -> None:
        await self._source.run(self._publish)

    def _publish(self, frame: Frame) -> None:
        if frame.index == 0:
            self.health.worked("camera", CLOCK)
        self.last_s = time.monotonic()
        self._came.set()

    async def picture(self) -> float:
        """Wait for the next picture; when it came."""
        self._came.clear()
        async with asyncio.timeout(HEAR_S):
            await self._came.wait()
        return self.last_s


class Proxy:
    """Lies between camera and viewer. Cut off it says nothing to anybody, and forgets the connections it had."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open = asyncio.Event()
        self._open.set()
        self._cuts = 0
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self, off: bool) -> None:
        if off:
            self._cuts += 1
            self._open.clear()
        else:
            self._open.set()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        born = self._cuts
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            ways = [self._copy(reader, back, born), self._copy(there, writer, born)]
            await asyncio.wait([asyncio.create_task(w) for w in ways], return_when=asyncio.FIRST_COMPLETED)
            back.close()
        writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, born: int) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if born == self._cuts:
                    writer.write(data)
                    await writer.drain()


async def _trial(viewer: Viewer, cut: Cut, rng: random.Random) -> float:
    """One cut; seconds from the end of the outage to the next picture."""
    await viewer.picture()
    await asyncio.sleep(rng.uniform(0.5, 4.0))
    await cut(True)
    await asyncio.sleep(OUTAGE_S)
    begin = time.monotonic()
    await cut(False)
    while (came := await viewer.picture()) < begin:
        pass
    return came - begin


async def restarted(footage: Footage, seed: int) -> list[float]:
    """The camera reboots: connections are reset, then refused, then it listens again at the same port."""
    camera = SimulatedCamera(footage, fps=10)
    port = await camera.start()

    async def cut(off: bool) -> None:
        nonlocal camera
        if off:
            await camera.close()
        else:
            camera = SimulatedCamera(footage, fps=10)
            await camera.start(port=port)

    took = await _trials(f"http://127.0.0.1:{port}/video.cgi", cut, seed)
    await camera.close()
    return took


async def silent(footage: Footage, seed: int) -> list[float]:
    """Something on the way stops forwarding, and forgets: old connections stay open and silent for ever."""
    camera = SimulatedCamera(footage, fps=10)
    proxy = Proxy(await camera.start())
    await proxy.start()
    took = await _trials(f"http://127.0.0.1:{proxy.port}/video.cgi", proxy.cut, seed)
    await camera.close()
    return took


async def _trials(url: str, cut: Cut, seed: int) -> list[float]:
    viewer, rng = Viewer(url), random.Random(seed)
    took = [await _trial(viewer, cut, rng) for _ in range(ROUNDS)]
    viewer.task.cancel()
    await asyncio.gather(viewer.task, return_exceptions=True)
    return took


class Cable:
    """A camera in a network namespace of its own, and the veth pair that leads there."""

    def __init__(self, film: Path) -> None:
        self.name = f"cab{os.getpid() % 100000}"
        n, near, far = self.name, f"{self.name}a", f"{self.name}b"
        for command in (
            f"ip netns add {n}",
            f"ip link add {near} type veth peer name {far} netns {n}",
            f"ip addr add {HOST}/30 dev {near}",
            f"ip link set {near} up",
            f"ip netns exec {n} ip addr add {GUEST}/30 dev {far}",
            f"ip netns exec {n} ip link set {far} up",
        ):
            subprocess.run(command.split(), check=True)
        command = ["ip", "netns", "exec", n, sys.executable, "-m", "agent.cli", "simulate", str(film), "--fps", "10"]
        self.camera = subprocess.Popen(
            [*command, "--host", GUEST, "--port", "8920"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    async def cut(self, off: bool) -> None:
        # The far end: the near one stays up, as a switch's port does whose camera lost its cable behind it.
        state = "down" if off else "up"
        done = await asyncio.create_subprocess_exec(
            "ip", "netns", "exec", self.name, "ip", "link", "set", f"{self.name}b", state
        )
        await done.wait()

    def close(self) -> None:
        self.camera.terminate()
        self.camera.wait()
        subprocess.run(["ip", "netns", "del", self.name], check=False)


async def unplugged(film: Path, count: int) -> list[float]:
    """The camera's cable is pulled and put back: for `count` viewers of it at once."""
    cable, took, rng = Cable(film), list[float](), random.Random(3)
    viewers = [Viewer(f"http://{GUEST}:8920/video.cgi") for _ in range(count)]
    try:
        for _ in range(ROUNDS):
            await asyncio.gather(*(v.picture() for v in viewers))
            await asyncio.sleep(rng.uniform(0.5, 4.0))
            await cable.cut(True)
            await asyncio.sleep(OUTAGE_S)
            await cable.cut(False)
            took += await asyncio.gather(*(_next(v, time.monotonic()) for v in viewers))
    finally:
        for v in viewers:
            v.task.cancel()
        await asyncio.gather(*(v.task for v in viewers), return_exceptions=True)
        cable.close()
    return took


async def _next(viewer: Viewer, begin: float) -> float:
    while (came := await viewer.picture()) < begin:
        pass
    return came - begin


def _tell(way: str, took: list[float]) -> None:
    took.sort()
    good = sum(t <= GOAL_S for t in took)
    print(
        f"{way}: {good} of {len(took)} within {GOAL_S:g} s after an outage of {OUTAGE_S:g} s; "
        f"median {took[len(took) // 2]:.2f} s, longest {took[-1]:.2f} s",
        flush=True,
    )


async def _all(film: Path) -> None:
    footage = open_footage(film, 10)
    for way, one in (("restarted", restarted), ("silent", silent)):
        lists = await asyncio.gather(*(one(footage, seed) for seed in range(AT_ONCE[way])))
        _tell(way, [t for took in lists for t in took])
    if os.geteuid() or shutil.which("ip") is None:
        print("unplugged: SKIPPED, a cable of its own takes root and iproute2")
        return
    _tell("unplugged", await unplugged(film, AT_ONCE["unplugged"]))


def main() -> None:
    logging.getLogger("agent").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(_all(street(Path(name) / "film", (640, 480), 20)))
