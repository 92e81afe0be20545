"""`check`: really connect each camera and sink once, a line each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from agent import exits, trial
from agent.app import AgentConfig, CameraConfig
from agent.errors import AgentError, PermanentError, TransientError, UsageError
from agent.frame import Codec
from agent.hub import Hub
from agent.outbox import MemoryOutbox
from agent.sinks import Feed, Sink
from agent.sources import Looking, Source, Twofold

MEASURE_S = 3.0
LIMIT_S = 15.0
MAX_SQUEEZE = 0.05  # codecs round sizes up to sixteen pixels


async def check_all(config: AgentConfig, say: Callable[[str], None]) -> int:
    """Check side by side, print in order; returns the exit code: the first failure's, or 0."""
    cameras = [asyncio.create_task(_camera(c)) for c in config.cameras]
    ways = [asyncio.create_task(_sink(s, c.name)) for s in config.sinks for c in config.cameras]
    code = exits.OK
    for task in (*cameras, *ways):
        line = await task
        say(("fail  " if line.code else "ok    ") + line.text)
        for note in line.notes:
            say("note  " + note)
        code = code or line.code
    return code


@dataclass(frozen=True, slots=True)
class Line:
    """What is said of one camera or sink; `code` 0 is good."""

    text: str
    code: int = exits.OK
    notes: tuple[str, ...] = ()


async def _camera(camera: CameraConfig) -> Line:
    source = camera.source
    big, small = source.parts() if isinstance(source, Twofold) else (source, None)
    beside = asyncio.create_task(_small(small)) if small else None
    try:
        m = await trial.measure(big, MEASURE_S, LIMIT_S)
        notes = await source.look() if isinstance(source, Looking) else []
        little = await beside if beside else None
    except AgentError as e:
        return Line(f"{camera.name}: {e}", _code(e))
    finally:
        if beside:
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)
    if camera.privacy.masks and m.codec is not Codec.JPEG:
        why = f"privacy masks need JPEGs, not {m.codec.name}: set reencode: true at its source (or codec: mjpeg)"
        return Line(f"{camera.name}: {source.label}: {why}", exits.CONFIG)
    text = _about(m)
    if m.codec is not Codec.JPEG:
        notes += _keyframes(m.gop_s, camera.events.pre_roll_s)
    if small and little:
        notes += [f"substream {small.label}: {_about(little)}", *_shapes(m.size, little.size)]
    return Line(f"{camera.name}: {source.label}: {text}", exits.OK, tuple(f"{camera.name}: {n}" for n in notes))


async def _small(source: Source) -> trial.Measured:
    """Beside the big stream, as the agent does it: some cameras have room for one only."""
    try:
        return await trial.measure(source, MEASURE_S, LIMIT_S)
    except TransientError as e:
        raise TransientError(f"substream: {e}") from None
    except PermanentError as e:
        raise PermanentError(f"substream: {e}", e.exit_code) from None


def _about(m: trial.Measured) -> str:
    size = f"{m.size[0]}x{m.size[1]}" if m.size else "of a size that it does not tell"
    codec = "" if m.codec is Codec.JPEG else f", {m.codec.name}"
    return f"{size}, {m.fps:.1f} fps, {m.mean_bytes / 1000:.0f} kB a picture{codec}"


def _shapes(big: tuple[int, int] | None, small: tuple[int, int] | None) -> list[str]:
    """What is odd about the small stream's picture beside the big one's."""
    if not big or not small:
        return []
    if small[0] * small[1] > big[0] * big[1]:
        return ["substream: larger than the main stream; exchange the two addresses"]
    squeezed = (small[0] / small[1]) / (big[0] / big[1])
    if abs(squeezed - 1) <= MAX_SQUEEZE:
        return []
    return [
        "substream: of another shape than the main stream: zones and masks fit if it shows the same view squeezed, "
        "and are wrong if it leaves out a part"
    ]


def _keyframes(gop_s: float | None, pre_roll_s: float) -> list[str]:
    if gop_s is None:
        return [f"one keyframe within {LIMIT_S / 2:g} s: events can only begin there; let the camera send more"]
    if gop_s > pre_roll_s:
        early = f"pre_roll_s is {pre_roll_s:g}, but events begin up to {gop_s:.1f} s before the motion"
        return [f"a keyframe each {gop_s:.1f} s only: {early}"]
    return [f"a keyframe each {gop_s:.1f} s"]


async def _sink(sink: Sink, camera: str) -> Line:
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
            return Line(f"{camera} → {sink.label}: no answer within {LIMIT_S:g} s", exits.UNREACHABLE)
    except AgentError as e:
        return Line(f"{camera} → {e}", _code(e))
    finally:
        task.cancel()
        ready.cancel()
        await asyncio.gather(task, ready, return_exceptions=True)
    return Line(f"{camera} → {sink.label}: accepted in {(time.monotonic() - begin) * 1000:.0f} ms")


def _code(e: AgentError) -> int:
    return e.exit_code if isinstance(e, PermanentError | UsageError) else exits.UNREACHABLE
