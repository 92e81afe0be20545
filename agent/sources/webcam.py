"""A webcam through OpenCV, read in a thread of its own; its own JPEG bytes where it offers MJPEG."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol, Self, TypeVarTuple

from annotated_types import Ge, Gt, Le

from agent.clock import SystemClock
from agent.errors import ConfigError, PermanentError, TransientError, UsageError
from agent.frame import Codec, Frame
from agent.media.jpeg import END, BrokenJpeg, end_of_image
from agent.sources import Publish
from agent.sources.stall import ended_or_stalled

NO_CAMERA = 66
PERMISSION = 77
QUALITY = 90
LEAVE_S = 0.5
STALL_TIMEOUT_S = 15.0
MAX_BAD_READS = 10
MAX_WAITING = 4
THREAD = "webcam "

_Args = TypeVarTuple("_Args")


class Camera(Protocol):
    """An open device; both calls may block for as long as its driver likes."""

    def read(self) -> bytes | None:
        """The next picture as a JPEG; None when there was none."""
        ...

    def close(self) -> None: ...


Open = Callable[[], Camera]


@dataclass(frozen=True, slots=True)
class WebcamSource:
    """`device`: a number or a path (`/dev/v4l/by-id/…` survives replugging); the driver may choose other sizes."""

    device: int | str = 0
    width: Annotated[int, Ge(16), Le(8192)] = 640
    height: Annotated[int, Ge(16), Le(8192)] = 480
    fps: Annotated[float, Gt(0), Le(240)] = 10.0

    def __post_init__(self) -> None:
        if self.device == "" or (isinstance(self.device, int) and self.device < 0):
            raise ConfigError("device: expected a number from 0 on or a path like /dev/video0")

    @classmethod
    def from_url(cls, text: str) -> Self:
        """`0`, `/dev/video0` or `webcam://0`; raises UsageError (exit 66)."""
        name = re.sub(r"(?i)^webcam://", "", text) or "0"
        if not (name.isascii() and name.isdigit() and len(name) < 6) and not name.startswith("/dev/"):
            raise UsageError(f"no such camera: '{name}' (a webcam is 0, 1, … or /dev/videoN)", NO_CAMERA)
        return cls(int(name) if name.isdigit() else name)

    @property
    def path(self) -> str:
        return f"/dev/video{self.device}" if isinstance(self.device, int) else self.device

    @property
    def label(self) -> str:
        return self.path

    async def run(self, publish: Publish) -> None:
        if sys.platform.startswith("linux"):
            _check_device(self.path)
        await capture(self.path, self._open, publish)

    def _open(self) -> Camera:
        from agent.sources.v4l2 import OpenCvCamera

        return OpenCvCamera(self.device, self.width, self.height, self.fps)


def _check_device(path: str) -> None:
    """Raises PermanentError where there is no device, or not for us."""
    if not os.path.exists(path):
        raise PermanentError(f"{path}: no such webcam", NO_CAMERA)
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermanentError(f"{path}: not permitted (is the user in the group 'video'?)", PERMISSION)


def blocked_threads() -> int:
    """How many capture threads are alive, those included that outlived their run because their driver blocks."""
    return sum(t.name.startswith(THREAD) for t in threading.enumerate())


async def capture(label: str, open_camera: Open, publish: Publish) -> None:
    """Publish what the camera gives until it fails or this is cancelled; raises TransientError, PermanentError.

    A read that blocks is left behind as a daemon thread; it closes the device when the driver lets it.
    """
    grabber = _Grabber(open_camera, publish, asyncio.get_running_loop())
    thread = threading.Thread(target=grabber.work, name=THREAD + label, daemon=True)
    thread.start()
    try:
        if await ended_or_stalled(grabber.ended, lambda: grabber.index, STALL_TIMEOUT_S):
            raise TransientError(f"{label}: no picture for {STALL_TIMEOUT_S:g} s")
        try:
            grabber.ended.result()
        except (TransientError, PermanentError) as e:
            raise type(e)(f"{label}: {e}") from None
    finally:
        grabber.stop.set()
        await asyncio.wait([grabber.gone], timeout=LEAVE_S)


class _Grabber:
    """The thread's side: reads, and hands each picture to the loop; at most four wait there."""

    def __init__(self, open_camera: Open, publish: Publish, loop: asyncio.AbstractEventLoop) -> None:
        self._open = open_camera
        self._publish = publish
        self._loop = loop
        self._clock = SystemClock()
        self._taken = threading.Semaphore(MAX_WAITING)
        self.ended: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.stop = threading.Event()
        self.index = 0

    def work(self) -> None:
        error: Exception | None = None
        try:
            camera = self._open()
            try:
                self._read(camera)
            finally:
                camera.close()
        except Exception as e:
            error = e
        self._tell(self._finish, error)

    def _read(self, camera: Camera) -> None:
        bad = index = 0
        while not self.stop.is_set():
            data = camera.read()
            wall_ns, pts_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
            if data is None:
                bad += 1
                if bad >= MAX_BAD_READS:
                    raise TransientError("the webcam gives no pictures any more")
                continue
            bad = 0
            frame = Frame(Codec.JPEG, data, True, pts_ns, wall_ns, index)
            index += 1
            # A loop that is late loses pictures (a gap in index), it does not queue them.
            if self._taken.acquire(blocking=False):
                self._tell(self._take, frame)

    def _take(self, frame: Frame) -> None:
        self._taken.release()
        if not self.stop.is_set():
            self.index = frame.index + 1
            self._publish(frame)

    def _finish(self, error: Exception | None) -> None:
        if not self.ended.done():
            if error is None:
                self.ended.set_result(None)
            else:
                self.ended.set_exception(error)
                self.ended.exception()
        if not self.gone.done():
            self.gone.set_result(None)

    def _tell(self, call: Callable[[*_Args], None], *args: *_Args) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            self.stop.set()


def own_jpeg(data: bytes) -> bytes | None:
    """What a driver left in its buffer, cut behind the end of the picture; None when there is no whole one."""
    if data.endswith(END) and data.startswith(b"\xff\xd8\xff"):
        return data
    try:
        end = end_of_image(data)
    except BrokenJpeg:
        return None
    return data[:end] if end is not None else None
