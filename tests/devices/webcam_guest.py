"""Runs inside the emulated machine: the webcam's source, unchanged, on real V4L2 drivers; prints JSON."""

import asyncio
import glob
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from agent import discover
from agent.errors import AgentError
from agent.frame import Frame
from agent.media import jpeg
from agent.sources import device
from agent.sources.v4l2 import OpenCvCamera
from agent.sources.webcam import WebcamSource

VIVID = Path("/sys/bus/platform/drivers/vivid")
HOLD = """
import cv2, sys, time
video = cv2.VideoCapture(sys.argv[1], cv2.CAP_V4L2)
print(video.read()[0], flush=True)
time.sleep(99)
"""
opened: list[OpenCvCamera] = []


def node(card: str) -> str:
    names = glob.glob("/sys/class/video4linux/*/name")
    return next((f"/dev/{n.split('/')[-2]}" for n in names if card in Path(n).read_text()), "")


async def run(source: WebcamSource, count: int, timeout_s: float = 60) -> tuple[list[Frame], str]:
    frames: list[Frame] = []
    enough = asyncio.Event()

    def publish(frame: Frame) -> None:
        frames.append(frame)
        if len(frames) >= count:
            enough.set()

    task, waiter = asyncio.create_task(source.run(publish)), asyncio.create_task(enough.wait())
    await asyncio.wait([task, waiter], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    task.cancel()
    (ended,) = await asyncio.gather(task, return_exceptions=True)
    kind = f"{type(ended).__name__}: {ended}" if isinstance(ended, AgentError) else type(ended).__name__
    return frames, kind


def last() -> dict[str, Any]:
    return {"about": opened[-1].about, "raw": opened[-1].raw, "encoded": opened[-1].encoded}


async def raw(path: str) -> dict[str, Any]:
    frames, ended = await run(WebcamSource(path, 640, 480, 15.0), 10)
    sizes = {(i.width, i.height) for i in (jpeg.inspect(f.data) for f in frames)}
    return {"frames": len(frames), "ended": ended, "sizes": sorted(sizes), **last()}


async def mjpeg(path: str, pictures: set[bytes]) -> dict[str, Any]:
    frames, ended = await run(WebcamSource(path, 640, 480, 15.0), 20)
    own = sum(f.data in pictures for f in frames)
    return {"frames": len(frames), "ended": ended, "own": own, "different": len({f.data for f in frames}), **last()}


async def busy(path: str) -> dict[str, Any]:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    holds = holder.stdout.readline().strip()
    frames, ended = await run(WebcamSource(path, stall_timeout_s=8), 1)
    holder.kill()
    holder.wait()
    again, _ = await run(WebcamSource(path), 3)
    return {"holds": holds, "frames": len(frames), "ended": ended, "pid": holder.pid, "again": len(again)}


async def unplugged(path: str) -> dict[str, Any]:
    source = WebcamSource(path, stall_timeout_s=30)
    frames: list[Frame] = []
    task = asyncio.create_task(source.run(frames.append))
    while len(frames) < 5 and not task.done():
        await asyncio.sleep(0.05)
    (VIVID / "unbind").write_text("vivid.0")
    begin = time.monotonic()
    await asyncio.wait([task], timeout=60)
    took_s = time.monotonic() - begin
    ended = str(task.exception()) if task.done() else "still running"
    _, absent = await run(source, 1, 20)
    (VIVID / "bind").write_text("vivid.0")
    for _ in range(100):
        if node("vivid"):
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(1)
    again, _ = await run(source, 5)
    return {"took_s": took_s, "ended": ended, "absent": absent, "again": len(again), "stable": source._stable}


async def stalled(path: str, feeder: "subprocess.Popen[str]") -> dict[str, Any]:
    source = WebcamSource(path, stall_timeout_s=2)
    frames: list[Frame] = []
    task = asyncio.create_task(source.run(frames.append))
    while len(frames) < 5 and not task.done():
        await asyncio.sleep(0.05)
    feeder.send_signal(signal.SIGSTOP)
    await asyncio.wait([task], timeout=60)
    ended = f"{type(task.exception()).__name__}: {task.exception()}"
    begin = time.monotonic()
    while device.blocked_threads() and time.monotonic() < begin + 30:
        await asyncio.sleep(0.05)
    held_s = time.monotonic() - begin
    feeder.send_signal(signal.SIGCONT)
    again, _ = await run(source, 5)
    return {"ended": ended, "held_s": held_s, "threads": device.blocked_threads(), "again": len(again)}


async def main() -> dict[str, Any]:
    wrapped = OpenCvCamera.__init__

    def remembering(self: OpenCvCamera, *args: Any) -> None:
        wrapped(self, *args)
        opened.append(self)

    OpenCvCamera.__init__ = remembering  # type: ignore[method-assign]
    vivid, loop = node("vivid"), node("HD Webcam")
    feeder = subprocess.Popen(
        [sys.executable, "/host/mjpeg_webcam.py", loop, "/host/clip", "15"], stdout=subprocess.PIPE, text=True
    )
    assert feeder.stdout is not None
    feeder.stdout.readline()
    pictures = {Path(p).read_bytes() for p in glob.glob("/host/clip/*.jpg")}
    steps = {
        "raw": lambda: raw(vivid),
        "mjpeg": lambda: mjpeg(loop, pictures),
        "busy": lambda: busy(vivid),
        "stalled": lambda: stalled(loop, feeder),
        "unplugged": lambda: unplugged(vivid),
    }
    seen: dict[str, Any] = {"vivid": vivid, "loop": loop}
    found = await discover.find(5.0, ["webcam"])
    seen["found"] = [[f.name, f.where, f.what, f.yaml] for f in found]
    for name, step in steps.items():
        try:
            seen[name] = await step()
        except Exception:
            seen[name] = {"failed": traceback.format_exc()}
    before = len(os.listdir("/proc/self/fd"))
    await run(WebcamSource(loop), 3)
    seen["fds"] = len(os.listdir("/proc/self/fd")) - before
    feeder.kill()
    return seen


if __name__ == "__main__":
    print("RESULT " + json.dumps(asyncio.run(main())), flush=True)
