"""Receiving MJPEG alone, beside `ffmpeg -c copy` and aiohttp's MultipartReader: CPU and wake-ups a frame."""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from agent.sources.mjpeg import MjpegSource
from bench.agent import LAN_BYTES_S, camera, started
from bench.footage import street
from bench.measure import cpu_s

WARM_S, MEASURE_S, ROUNDS = 4.0, 12.0, 3


def side_by_side(size: tuple[int, int], fps: int, goal: str, folder: Path) -> None:
    """The three read one camera at the same time, several times over; the middle round counts."""
    film = street(folder / f"film{size[0]}", size, 90)
    rounds = []
    with camera(film, fps, folder, "--style", "plain", "--fault", f"slow={LAN_BYTES_S}") as url:
        for turn in range(ROUNDS):
            rounds.append(_round(url, fps, folder / f"{size[0]}-{turn}"))
    ours, ffmpeg, aiohttp, wakeups = (sorted(r[i] for r in rounds)[ROUNDS // 2] for i in range(4))
    print(
        f"{size[0]}x{size[1]} at {fps}, paced: ours {ours:.3f} ms a frame, ffmpeg -c copy {ffmpeg:.3f}: "
        f"x{ours / ffmpeg:.2f} (goal ≤ {goal}); aiohttp {aiohttp:.3f}: x{ours / aiohttp:.2f}; "
        f"{wakeups:.2f} wake-ups a frame (goal ≤ 2.5)",
        flush=True,
    )


def _round(url: str, fps: int, log: Path) -> tuple[float, float, float, float]:
    mine = [sys.executable, "-m", "bench.receive", "ours", url]
    other = [sys.executable, "-m", "bench.receive", "aiohttp", url]
    copy = ["ffmpeg", "-v", "error", "-f", "mpjpeg", "-i", url, "-c", "copy", "-f", "null", "-"]
    with ExitStack() as stack:
        pids = [
            stack.enter_context(started(c, log.with_suffix(f".{i}"))).pid for i, c in enumerate((mine, copy, other))
        ]
        time.sleep(WARM_S)
        before = [cpu_s(p) for p in pids]
        time.sleep(MEASURE_S)
        ours, ffmpeg, aiohttp = ((cpu_s(p) - b) / (MEASURE_S * fps) * 1000 for p, b in zip(pids, before, strict=True))
    told = re.search(r"(\d+) pictures, .* (\d+) wake-ups", log.with_suffix(".0").read_text())
    assert told, log.with_suffix(".0").read_text()
    return ours, ffmpeg, aiohttp, int(told[2]) / int(told[1])


async def ours(url: str) -> None:
    """The source and nothing behind it, until SIGTERM."""
    import signal

    logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
    task = asyncio.create_task(MjpegSource(url).run(lambda _: None))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await asyncio.gather(task, return_exceptions=True)


async def with_aiohttp(url: str) -> None:
    import aiohttp

    async with aiohttp.ClientSession() as session, session.get(url) as response:
        reader = aiohttp.MultipartReader.from_response(response)
        while part := await reader.next():
            await part.read()  # type: ignore[union-attr]


def main() -> None:
    if subprocess.run(["sh", "-c", "command -v ffmpeg"], capture_output=True, check=False).returncode:
        print("SKIPPED: no ffmpeg here (sudo apt install ffmpeg)")
        return
    with tempfile.TemporaryDirectory() as name:
        side_by_side((1920, 1080), 15, "0.80", Path(name))
        side_by_side((640, 480), 15, "1.50", Path(name))


if __name__ == "__main__":
    asyncio.run({"ours": ours, "aiohttp": with_aiohttp}[sys.argv[1]](sys.argv[2]))
