"""A hundred cameras upload a picture a second by HTTP: what is answered, how fast, and what it costs the server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from agent.media import clip
from bench.ftp import jpeg
from bench.measure import cpu_s, memory

CAMERAS, SECONDS = 100, 30
SETTLE_S = 5.0  # until the last pictures are clips
ROLE = "from bench import cameras; cameras.role(*__import__('sys').argv[1:])"


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([sys.executable, "-c", ROLE, folder], stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            keys = [server.stdout.readline().strip() for _ in range(CAMERAS)]
            begin = cpu_s(server.pid)
            took = sorted(asyncio.run(push(port, keys)))
            sent, good = CAMERAS * SECONDS, [t for t in took if t < 1e9]
            share = (cpu_s(server.pid) - begin) / SECONDS
            time.sleep(SETTLE_S)
            kept = sum(len(list(clip.entries(p.read_bytes()))) for p in (Path(folder) / "items").rglob("*.clip"))
            print(
                f"{sent} pictures: {len(good)} answered 201, {kept} in the store;"
                f" answer p50 {good[len(good) // 2] * 1e3:.0f} ms, p99 {good[int(len(good) * 0.99)] * 1e3:.0f} ms;"
                f" {share * 100:.0f} % of a core, {memory(server.pid).rss_mib:.0f} MiB resident"
            )
        finally:
            server.kill()


async def push(port: int, keys: list[str]) -> list[float]:
    """Seconds until each answer; infinite for one that was not 201."""
    picture = jpeg(30_000)
    took: list[float] = []

    async def camera(http: aiohttp.ClientSession, n: int) -> None:
        url = f"http://127.0.0.1:{port}/v1/cam/camera-{n}/picture"
        headers = {"Authorization": f"Bearer {keys[n]}"}
        due = time.monotonic() + n / CAMERAS
        for _ in range(SECONDS):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += 1
            begin = time.monotonic()
            async with http.put(url, data=picture, headers=headers) as answer:
                took.append(time.monotonic() - begin if answer.status == 201 else float("inf"))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        await asyncio.gather(*(camera(http, n) for n in range(CAMERAS)))
    return took


def role(folder: str) -> None:
    """The server's process."""
    asyncio.run(_serve(folder))


async def _serve(folder: str) -> None:
    from agent.server.app import CameraServer, ServerSettings

    server = CameraServer(ServerSettings(port=0, store=folder), notes={})
    await server.start()
    print(server.port, flush=True)
    for n in range(CAMERAS):
        print(await server.issue_token(f"camera-{n}"), flush=True)
    await asyncio.Event().wait()
