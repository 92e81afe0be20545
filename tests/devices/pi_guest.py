"""Runs where picamera2 is: the Pi camera's source, unchanged, through one scenario; prints what it saw as JSON."""

import asyncio
import gc
import json
import os
import sys
import threading
import time
from typing import Any

import cv2
import numpy as np

from agent import discover, motion
from agent.errors import AgentError
from agent.frame import Frame
from agent.media import jpeg
from agent.motion.luma import luma
from agent.sources import device
from agent.sources.picamera import PiCameraSource

STALL = "TB_CAM_STALL"
OPEN = "TB_CAM_OPEN"


async def run(count: int, **settings: Any) -> tuple[list[Frame], str, float]:
    """The frames of one run up to `count`, how it ended, and how long its end took after it was cancelled."""
    frames: list[Frame] = []
    enough = asyncio.Event()

    def publish(frame: Frame) -> None:
        frames.append(frame)
        if len(frames) >= count:
            enough.set()

    source = PiCameraSource(**{"fps": 30.0, **settings})
    task = asyncio.create_task(source.run(publish))
    waiter = asyncio.create_task(enough.wait())
    await asyncio.wait([task, waiter], timeout=30, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    begin = time.monotonic()
    task.cancel()
    done = await asyncio.gather(task, return_exceptions=True)
    ended = done[0]
    kind = f"{type(ended).__name__}: {ended}" if isinstance(ended, AgentError) else type(ended).__name__
    return frames, kind, time.monotonic() - begin


def left() -> dict[str, int]:
    """What is open once the capture threads are gone; picamera2's cycles hold buffers until they are collected."""
    begin = time.monotonic()
    while device.blocked_threads() and time.monotonic() < begin + 5:
        time.sleep(0.01)
    gc.collect()
    threads = [t for t in threading.enumerate() if t is not threading.main_thread()]
    names = [t for t in threads if t.name.startswith(device.THREAD) or "thread_func" in t.name]
    # The stand-in for the Pi's memory keeps its memfds; everything else has to be closed.
    fds = [fd for fd in os.listdir("/proc/self/fd") if not is_memory(fd)]
    return {"fds": len(fds), "threads": len(names), "tasks": len(asyncio.all_tasks())}


def is_memory(fd: str) -> bool:
    try:
        return "memfd:" in os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return True


def difference(frame: Frame, grey: "np.ndarray[Any, Any]") -> float:
    """How far the luma is from the coded picture: 0 to 255, a mean."""
    assert frame.luma is not None
    small = cv2.resize(grey, frame.luma.shape[::-1], interpolation=cv2.INTER_AREA)
    return float(np.abs(small.astype(int) - frame.luma).mean())


async def mjpeg() -> dict[str, Any]:
    await run(2)
    before = left()
    turns = []
    for _ in range(3):
        frames, ended, took_s = await run(20)
        turns.append((len(frames), ended, took_s, [f.index for f in frames] == list(range(len(frames)))))
    greys = [cv2.imdecode(np.frombuffer(f.data, np.uint8), cv2.IMREAD_GRAYSCALE) for f in frames]
    seconds = (frames[-1].pts_ns - frames[4].pts_ns) / 1e9
    return {
        "turns": turns,
        "whole": all(jpeg.complete(f.data) for f in frames),
        "size": greys[0].shape[::-1],
        "luma": frames[0].luma.shape if frames[0].luma is not None else None,
        "fps": (len(frames) - 5) / seconds,
        "before": before,
        "after": left(),
    }


def decoded(frames: list[Frame]) -> list[Any]:
    """Y planes of H.264, as they were coded."""
    import av

    decoder = av.CodecContext.create("h264", "r")
    pictures = [p for f in frames for p in decoder.decode(av.Packet(f.data))] + list(decoder.decode(None))
    return [p.to_ndarray(format="yuv420p")[: p.height] for p in pictures]


async def h264() -> dict[str, Any]:
    frames, ended, _ = await run(40, codec="h264", keyframe_s=0.5)
    return {
        "frames": len(frames),
        "ended": ended,
        "codecs": sorted({f.codec.name for f in frames}),
        "keyframes": [f.index for f in frames if f.keyframe],
        "with_sets": all(b"\0\0\1\x67" in f.data and b"\0\0\1\x68" in f.data for f in frames if f.keyframe),
        "lumas": sum(f.luma is not None for f in frames),
        "decoded": [g.shape[::-1] for g in decoded(frames)],
    }


async def stall() -> dict[str, Any]:
    os.environ[STALL] = "12"
    frames, ended, _ = await run(100, stall_timeout_s=1.0)
    again, ended_again, _ = await run(100, stall_timeout_s=1.0)
    del os.environ[STALL]
    well, _, _ = await run(30)
    runs = [len(frames), len(again), len(well)]
    return {"runs": runs, "ended": [ended, ended_again], "indices": again[0].index, "after": left()}


async def open_fails() -> dict[str, Any]:
    os.environ[OPEN] = "2"
    ends = []
    for _ in range(3):
        frames, ended, _ = await run(5)
        ends.append((len(frames), ended))
    return {"ends": ends, "after": left()}


async def choices() -> dict[str, Any]:
    from picamera2 import Picamera2

    info = Picamera2.global_camera_info()[0]
    by_id, _, _ = await run(3, camera=info["Id"])
    by_model, _, _ = await run(3, camera=info["Model"])
    told = [(c.way, c.name, c.where, c.yaml) for c in await discover.find(10.0, ["libcamera"])]
    _, number, _ = await run(3, camera=7)
    _, name, _ = await run(3, camera="imx999")
    _, hardware, _ = await run(3, encoder="hardware")
    flipped, odd, _ = await run(
        3, hflip=True, vflip=True, exposure_us=10000, gain=2.0, focus="manual", lens_position=2.0
    )
    return {
        "found": [len(by_id), len(by_model)],
        "told": told,
        "refused": [number, name, hardware],
        "flipped": [len(flipped), odd],
    }


async def moves() -> dict[str, Any]:
    """A film through the detector, on the luma that comes with the pictures; each of its pictures is shown 4 times."""
    detector = motion.create(motion.MotionSettings())
    frames, _, _ = await run(int(os.environ["FRAMES"]) + 1, fps=30.0)
    moving, far = {}, []
    for f in frames[::8]:
        moving[f.index // 4] = detector.update(luma(f), f.index / 40).moving
        far.append(difference(f, cv2.imdecode(np.frombuffer(f.data, np.uint8), cv2.IMREAD_GRAYSCALE)))
    return {"moving": moving, "far": max(far), "indices": frames[-1].index}


async def pairs() -> dict[str, Any]:
    """Pictures of which each is brighter than the one before: does the luma belong to the picture it comes with?"""
    far = {}
    frames, _, _ = await run(60)
    greys = [cv2.imdecode(np.frombuffer(f.data, np.uint8), cv2.IMREAD_GRAYSCALE) for f in frames]
    far["mjpeg"] = max(difference(f, g) for f, g in zip(frames, greys, strict=True))
    frames, _, _ = await run(60, codec="h264")
    far["h264"] = max(difference(f, g) for f, g in zip(frames, decoded(frames), strict=True))
    return {"far": far, "steps": len({round(float(g.mean())) for g in greys})}


if __name__ == "__main__":
    print("RESULT " + json.dumps(asyncio.run(globals()[sys.argv[1]]())), flush=True)
