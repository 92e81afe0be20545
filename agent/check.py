"""`check`: really connect each camera and sink once, a line each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from agent import exits
from agent.app import AgentConfig, CameraConfig
from agent.errors import AgentError, PermanentError, UsageError
from agent.frame import Frame
from agent.hub import Hub
from agent.outbox import MemoryOutbox
from agent.sinks import Feed, Sink

MEASURE_S = 3.0
LIMIT_S = 15.0


async def check_all(config: AgentConfig, say: Callable[[str], None]) -> int:
    """Check side by side, print in order; returns the exit code: the first failure's, or 0."""
    cameras = [asyncio.create_task(_camera(c)) for c in config.cameras]
    ways = [asyncio.create_task(_sink(s, c.name)) for s in config.sinks for c in config.cameras]
    code = exits.OK
    for task in (*cameras, *ways):
        text, failed = await task
        say(("fail  " if failed else "ok    ") + text)
        code = code or failed
    return code


async def _camera(camera: CameraConfig) -> tuple[str, int]:
    frames: list[tuple[float, int]] = []
    size = ""

    def publish(frame: Frame) -> None:
        nonlocal size
        frames.append((time.monotonic(), len(frame.data)))
        if not size:
            size = _size(frame)

    task = asyncio.create_task(camera.source.run(publish))
    try:
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until and not task.done():
            await asyncio.wait([task], timeout=0.1)
            if frames and time.monotonic() - frames[0][0] > MEASURE_S:
                break
        if task.done():
            task.result()
    except AgentError as e:
        return f"{camera.name}: {e}", _code(e)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if not frames:
        return f"{camera.name}: {camera.source.label}: no picture within {LIMIT_S:g} s", exits.UNREACHABLE
    seconds = frames[-1][0] - frames[0][0]
    fps = (len(frames) - 1) / seconds if seconds > 0 else 0.0
    kb = sum(n for _, n in frames) / len(frames) / 1000
    return f"{camera.name}: {camera.source.label}: {size}, {fps:.1f} fps, {kb:.0f} kB a picture", exits.OK


def _size(frame: Frame) -> str:
    from agent.media import jpeg

    try:
        info = jpeg.inspect(frame.data)
    except ValueError as e:
        return f"not a JPEG that I know ({e})"
    return f"{info.width}x{info.height}"


async def _sink(sink: Sink, camera: str) -> tuple[str, int]:
    up = asyncio.Event()
    feed = Feed(camera, MemoryOutbox(camera), Hub(), up.set)
    begin = time.monotonic()
    task = asyncio.ensure_future(sink.run(feed))
    ready = asyncio.create_task(up.wait())
    try:
        await asyncio.wait([task, ready], timeout=LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        if not up.is_set():
            return f"{camera} → {sink.label}: no answer within {LIMIT_S:g} s", exits.UNREACHABLE
    except AgentError as e:
        return f"{camera} → {e}", _code(e)
    finally:
        task.cancel()
        ready.cancel()
        await asyncio.gather(task, ready, return_exceptions=True)
    return f"{camera} → {sink.label}: accepted in {(time.monotonic() - begin) * 1000:.0f} ms", exits.OK


def _code(e: AgentError) -> int:
    return e.exit_code if isinstance(e, PermanentError | UsageError) else exits.UNREACHABLE
