"""The main path beside Debian's `motion` on one stream: CPU a frame, and the delay to the viewer."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from agent.media.spoil import read_stamp
from agent.media.wire import LiveMessage, unpack
from bench.footage import street
from bench.measure import cpu_s, memory

COMMAND = [sys.executable, "-m", "agent.cli"]
LAN_BYTES_S = 12_500_000
"""Each picture arrives spread as over 100 Mbit/s: loopback alone would hide what the many wake-ups cost."""

WARM_S, MEASURE_S = 10.0, 40.0
MOTION = """daemon off
setup_mode off
log_level 4
netcam_url {url}
width {width}
height {height}
framerate {fps}
webcontrol_port 0
stream_port 0
picture_output off
movie_output off
target_dir {folder}
threshold {threshold}
text_left
text_right
"""


@contextmanager
def started(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Its spool, if it has one, is beside the log: the one of an agent of this machine is not touched."""
    own = os.environ | {"XDG_STATE_HOME": str(log.parent / "state")}
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=own) as process:
        try:
            yield process
            if process.poll() is not None:
                raise RuntimeError(f"{log.name}: the program ended by itself:\n{log.read_text()}")
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def said(log: Path, pattern: str) -> str:
    """Wait for a line of the log; the pattern's first group."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if found := re.search(pattern, log.read_text() if log.exists() else ""):
            return found[1]
        time.sleep(0.1)
    raise RuntimeError(f"{log}: '{pattern}' was not said:\n{log.read_text()}")


@contextmanager
def camera(film: Path, fps: float, folder: Path, *more: str) -> Iterator[str]:
    log = folder / "camera.log"
    command = [*COMMAND, "simulate", str(film), "--port", "0", "--fps", str(fps), *more]
    with started(command, log):
        yield said(log, r"(http://\S+)")


def side_by_side(size: tuple[int, int], fps: int, allowed: float, folder: Path) -> None:
    width, height = size
    film = street(folder / f"film{width}", size, 300 if width < 1000 else 120)
    store = folder / f"store{width}"
    token = subprocess.run([*COMMAND, "virtual", "add", "porch", "--store", str(store)], capture_output=True, text=True)
    secret = re.search(r"token\s+(\S+)", token.stdout)
    assert secret, token.stderr
    with (
        camera(film, fps, folder, "--fault", f"slow={LAN_BYTES_S}") as url,
        started([*COMMAND, "server", "--port", "0", "--store", str(store)], folder / "server.log"),
    ):
        to = f"ws://:{secret[1]}@127.0.0.1:{said(folder / 'server.log', r'page is at http://[^:]+:([0-9]+)')}"
        conf = folder / "motion.conf"
        threshold = 500 * width * height // (640 * 480)
        conf.write_text(MOTION.format(url=url, width=width, height=height, fps=fps, folder=folder, threshold=threshold))
        ours = [*COMMAND, "run", "--source", url, "--to", to, "--name", "porch"]
        with (
            started(ours, folder / "agent.log") as agent,
            started(["motion", "-n", "-c", str(conf)], folder / "motion.log") as motion,
        ):
            time.sleep(WARM_S)
            before = cpu_s(agent.pid), cpu_s(motion.pid)
            time.sleep(MEASURE_S)
            after = cpu_s(agent.pid), cpu_s(motion.pid)
            a, m = ((y - x) / (MEASURE_S * fps) * 1000 for x, y in zip(before, after, strict=True))
            print(
                f"{width}x{height} at {fps}: camera-agent run {a:.2f} ms a frame, motion {m:.2f}: "
                f"x{a / m:.2f} (goal ≤ {allowed}); RSS {memory(agent.pid).rss_mib:.0f} and "
                f"{memory(motion.pid).rss_mib:.0f} MiB",
                flush=True,
            )


async def delay(folder: Path) -> None:
    """From the stamp that the camera puts into a picture to the viewer's side of the WebSocket."""
    with camera(folder / "film640", 10, folder, "--stamp") as url:
        log = folder / "watch.log"
        with started([*COMMAND, "watch", url, "--port", "0", "--local", "--json", "--for", "60s"], log):
            link = said(log, r'"url": ?"([^"]+)"')
            ages = await look(link)
    ages.sort()
    print(f"stamp to viewer: p50 {ages[len(ages) // 2]:.1f} ms (goal ≤ 8), p95 {ages[int(len(ages) * 0.95)]:.1f} ms")


async def look(link: str) -> list[float]:
    """Open the page and its live view for 200 pictures; how old each was, in milliseconds."""
    ages = []
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        origin = str((await http.get(link)).url.origin())
        async with http.ws_connect(f"{origin}/api/v1/cameras/mjpeg/live", headers={"Origin": origin}) as live:
            await live.send_str(json.dumps({"t": "live", "n": 4}))
            while len(ages) < 200:
                message = unpack((await live.receive(10)).data)
                now_ns = time.time_ns()
                assert isinstance(message, LiveMessage)
                stamp_ns = read_stamp(bytes(message.data))
                assert stamp_ns is not None
                ages.append((now_ns - stamp_ns) / 1e6)
                await live.send_str(json.dumps({"t": "live", "n": 1}))
    return ages[10:]


def main() -> None:
    if shutil.which("motion") is None:
        print("SKIPPED: Debian's motion is not here (sudo apt install motion)")
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        side_by_side((640, 480), 10, 0.35, folder)
        side_by_side((1920, 1080), 15, 0.22, folder)
        asyncio.run(delay(folder))
