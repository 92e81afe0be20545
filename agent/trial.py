"""Connects a camera once, for real, and tells what it is like."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from agent.errors import PermanentError, TransientError, UsageError, extra
from agent.frame import Codec, Frame
from agent.media.size import size_of
from agent.sources import Source

RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Measured:
    """What a camera sent: `size` of its first picture (None: not told), `gop_s` the longest time between keyframes.

    `gop_s` is None for JPEG, and as long as there was one keyframe only.
    """

    codec: Codec
    size: tuple[int, int] | None
    fps: float
    mean_bytes: float
    gop_s: float | None


async def measure(source: Source, seconds: float, limit_s: float) -> Measured:
    """Watch the camera for `seconds` from its first picture on (longer, until a second keyframe has come).

    Raises what the source raises before; TransientError where no picture came within `limit_s`.
    """
    seen: list[tuple[float, int, bool]] = []
    first: list[Frame] = []

    def take(frame: Frame) -> bool:
        first[:] = first or [frame]
        seen.append((frame.pts_ns / 1e9, len(frame.data), frame.keyframe))
        lasted = seen[-1][0] - seen[0][0]
        keyframes = sum(k for _, _, k in seen)
        return lasted >= seconds and (keyframes > 1 or lasted >= limit_s / 2)

    await _until(source, take, limit_s)
    if not seen:
        raise TransientError(f"{source.label}: no picture within {limit_s:g} s")
    lasted = seen[-1][0] - seen[0][0]
    times = [t for t, _, k in seen if k]
    gops = [b - a for a, b in pairwise(times)]
    return Measured(
        first[0].codec,
        size_of(first[0]),
        (len(seen) - 1) / lasted if lasted > 0 else 0.0,
        sum(n for _, n, _ in seen) / len(seen),
        max(gops) if gops and first[0].codec is not Codec.JPEG else None,
    )


async def picture(source: Source, after_s: float, limit_s: float) -> Frame:
    """The newest keyframe `after_s` after the first picture, for the exposure to settle; tries again what may pass.

    Raises PermanentError; TransientError when there is none within `limit_s`, with the last reason.
    """
    found: list[Frame] = []
    ready_s: list[float] = []
    begin, why = time.monotonic(), TransientError(f"{source.label}: no picture within {limit_s:g} s")

    def take(frame: Frame) -> bool:
        ready_s[:] = ready_s or [time.monotonic() + after_s]
        if frame.keyframe:
            found[:] = [frame]
        return bool(found) and time.monotonic() >= ready_s[0]

    while (left := limit_s - (time.monotonic() - begin)) > 0:
        try:
            await _until(source, take, left)
            break
        except TransientError as e:
            why = e
            await asyncio.sleep(min(RETRY_S, left))
    if not found:
        raise why
    return found[0]


async def _until(source: Source, take: Callable[[Frame], bool], limit_s: float) -> None:
    """Run the source until `take` has enough, it ends, or the time is over; raises what it raises."""
    enough = asyncio.Event()
    task = asyncio.ensure_future(source.run(lambda frame: enough.set() if take(frame) else None))
    waiter = asyncio.create_task(enough.wait())
    try:
        await asyncio.wait([task, waiter], timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done() and not enough.is_set():
            task.result()
    finally:
        for t in (task, waiter):
            t.cancel()
        await asyncio.gather(task, waiter, return_exceptions=True)


def as_jpeg(frame: Frame) -> bytes:
    """The picture as a file that every viewer shows: the camera's own JPEG, or a keyframe decoded and coded here.

    Missing Huffman tables are put in. Raises UsageError, which names the extra, where H.264 cannot be decoded;
    PermanentError for a picture that is broken.
    """
    from agent.media import jpeg

    try:
        if frame.codec is Codec.JPEG:
            return jpeg.decodable(frame.data)
        return _coded_here(frame)
    except ValueError as e:
        raise PermanentError(f"the picture cannot be shown: {e}") from None


def _coded_here(frame: Frame) -> bytes:
    try:
        import av
    except ImportError:
        raise UsageError(f"a picture of {frame.codec.name} has to be decoded: {extra('video')}") from None
    import cv2

    from agent.media import jpeg

    decoder = av.CodecContext.create("h264" if frame.codec is Codec.H264 else "hevc", "r")
    try:
        pictures = [*decoder.decode(av.Packet(frame.data)), *decoder.decode(None)]
    except av.FFmpegError as e:
        raise ValueError(str(e)) from None
    if not pictures:
        raise ValueError("the keyframe gives no picture")
    coded, image = cv2.imencode(".jpg", pictures[0].to_ndarray(format="bgr24"))
    if not coded:
        raise ValueError("it cannot be coded")
    return jpeg.derived(image.tobytes(), decoder.name)
