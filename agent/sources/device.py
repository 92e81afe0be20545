"""A device whose calls block: read in a thread of its own, which may outlive its run while the driver hangs."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVarTuple

from agent.clock import SystemClock
from agent.errors import PermanentError, TransientError
from agent.frame import Codec, Frame
from agent.sources import Publish
from agent.sources.stall import ended_or_stalled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

START_S = 20.0
LEAVE_S = 0.5
MAX_BAD_READS = 10
MAX_WAITING = 4
THREAD = "capture "

_Args = TypeVarTuple("_Args")


@dataclass(frozen=True, slots=True)
class Picture:
    """What a device gives: a coded picture, and its luma plane where that costs nothing."""

    data: bytes
    codec: Codec = Codec.JPEG
    keyframe: bool = True
    luma: NDArray[np.uint8] | None = None


class Device(Protocol):
    """An open device; `read` and `close` may block for as long as its driver likes."""

    @property
    def about(self) -> str:
        """What was negotiated, in a few words: `640x480 MJPG at 30 fps`."""
        ...

    def read(self) -> list[Picture]:
        """The pictures that are there now, at least one as a rule; waits for the next. Raises TransientError."""
        ...

    def close(self) -> None: ...


Open = Callable[[], Device]


def blocked_threads() -> int:
    """How many capture threads are alive, those included that outlived their run because their driver blocks."""
    return sum(t.name.startswith(THREAD) for t in threading.enumerate())


async def capture(label: str, open_device: Open, publish: Publish, stall_timeout_s: float) -> None:
    """Publish what the device gives until it fails or this is cancelled; raises TransientError, PermanentError.

    The first picture may take 20 s: drivers start, and a small machine loads their libraries. A read that blocks is
    left behind as a daemon thread; it closes the device when the driver lets it.
    """
    grabber = _Grabber(label, open_device, publish, asyncio.get_running_loop())
    thread = threading.Thread(target=grabber.work, name=THREAD + label, daemon=True)
    thread.start()
    try:
        if await ended_or_stalled(grabber.ended, lambda: grabber.count, stall_timeout_s, START_S):
            waited_s = stall_timeout_s if grabber.count else max(stall_timeout_s, START_S)
            raise TransientError(f"{label}: no picture for {waited_s:g} s")
        try:
            grabber.ended.result()
        except TransientError as e:
            raise TransientError(f"{label}: {e}") from None
        except PermanentError as e:
            raise PermanentError(f"{label}: {e}", e.exit_code) from None
    finally:
        grabber.stop.set()
        await asyncio.wait([grabber.gone], timeout=LEAVE_S)


class _Grabber:
    """The thread's side: reads, and hands each picture to the loop; at most four wait there."""

    def __init__(self, label: str, open_device: Open, publish: Publish, loop: asyncio.AbstractEventLoop) -> None:
        self._label = label
        self._open = open_device
        self._publish = publish
        self._loop = loop
        self._clock = SystemClock()
        self._taken = threading.Semaphore(MAX_WAITING)
        self.ended: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.stop = threading.Event()
        self.count = 0

    def work(self) -> None:
        error: Exception | None = None
        try:
            device = self._open()
            try:
                log.info("%s: %s", self._label, device.about)
                self._read(device)
            finally:
                device.close()
        except Exception as e:
            error = e
        self._tell(self._finish, error)

    def _read(self, device: Device) -> None:
        bad = index = 0
        while not self.stop.is_set():
            pictures = device.read()
            bad = 0 if pictures else bad + 1
            if bad >= MAX_BAD_READS:
                raise TransientError("the camera gives no pictures any more")
            for p in pictures:
                wall_ns, pts_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
                frame = Frame(p.codec, p.data, p.keyframe, pts_ns, wall_ns, index, p.luma)
                index += 1
                # A loop that is late loses pictures (a gap in index), it does not queue them.
                if self._taken.acquire(blocking=False):
                    self._tell(self._take, frame)

    def _take(self, frame: Frame) -> None:
        self._taken.release()
        if not self.stop.is_set():
            self.count += 1
            try:
                self._publish(frame)
            except Exception as e:  # a bug of the taker's; it leaves by the run, not by the loop
                self.stop.set()
                self._fail(e)

    def _fail(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)
            self.ended.exception()

    def _finish(self, error: Exception | None) -> None:
        if error is not None:
            self._fail(error)
        elif not self.ended.done():
            self.ended.set_result(None)
        if not self.gone.done():
            self.gone.set_result(None)

    def _tell(self, call: Callable[[*_Args], None], *args: *_Args) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            self.stop.set()
