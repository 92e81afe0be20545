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
from agent.sources.groups import Groups
from agent.sources.stall import ended_or_stalled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

START_S = 20.0
LEAVE_S = 0.5
MAX_BAD_READS = 10
MAX_WAITING = 4
MAX_WAITING_LEANING = 256  # of frames that lean on others a loss takes the whole group
THREAD = "capture "

_Args = TypeVarTuple("_Args")


@dataclass(frozen=True, slots=True)
class Picture:
    """What a device gives: a coded picture, and its luma plane where that costs nothing.

    `pts_ns` (monotonic) is there where the device tells it, else the moment it was read; `delay_us` as in Frame.
    `lost`: pictures just before this one that did not arrive whole, and were left out.
    """

    data: bytes
    codec: Codec = Codec.JPEG
    keyframe: bool = True
    luma: NDArray[np.uint8] | None = None
    pts_ns: int | None = None
    delay_us: int = 0
    lost: int = 0


class Device(Protocol):
    """An open device; `read` and `close` may block for as long as its driver likes."""

    @property
    def about(self) -> str:
        """What was negotiated, in a few words: `640x480 MJPG at 30 fps`."""
        ...

    def read(self) -> list[Picture] | None:
        """The pictures that are there now, at least one as a rule; waits for the next. Raises TransientError.

        None: there is no more to come, ever.
        """
        ...

    def close(self) -> None: ...


Open = Callable[[], Device]


def blocked_threads(label: str = "") -> int:
    """How many capture threads (of the source so labelled) live, those that outlived their run in a driver included."""
    return sum(t.name == THREAD + label if label else t.name.startswith(THREAD) for t in threading.enumerate())


async def capture(label: str, open_device: Open, publish: Publish, stall_timeout_s: float) -> None:
    """Publish what the device gives until it fails or this is cancelled; raises TransientError, PermanentError.

    The first picture may take 20 s: drivers start, and a small machine loads their libraries. A read that blocks is
    left behind as a daemon thread; it closes the device when the driver lets it.
    """
    grabber = _Grabber(label, open_device, publish, asyncio.get_running_loop())
    thread = threading.Thread(target=grabber.work, name=THREAD + label, daemon=True)
    thread.start()
    try:
        if await ended_or_stalled(grabber.ended, lambda: grabber.came_s, stall_timeout_s, START_S):
            waited_s = stall_timeout_s if grabber.came_s else max(stall_timeout_s, START_S)
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
    """The thread's side: reads, and hands each picture to the loop; at most four (of H.264: 256) wait there."""

    def __init__(self, label: str, open_device: Open, publish: Publish, loop: asyncio.AbstractEventLoop) -> None:
        self._label = label
        self._open = open_device
        self._publish = publish
        self._loop = loop
        self._clock = SystemClock()
        self._groups = Groups()
        self._waiting = 0
        self._lock = threading.Lock()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.stop = threading.Event()
        self.came_s = 0.0

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
            if pictures is None:
                return
            bad = 0 if pictures else bad + 1
            if bad >= MAX_BAD_READS:
                raise TransientError("the camera gives no pictures any more")
            for p in pictures:
                index += p.lost if index else 0
                frame = self._frame(p, index)
                index += 1
                # A loop that is late loses pictures (a gap in index), it does not queue them.
                if self._waiting < (MAX_WAITING if p.codec is Codec.JPEG else MAX_WAITING_LEANING):
                    with self._lock:
                        self._waiting += 1
                    self._tell(self._take, frame)

    def _frame(self, p: Picture, index: int) -> Frame:
        wall_ns, now_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
        pts_ns = now_ns if p.pts_ns is None else p.pts_ns
        return Frame(p.codec, p.data, p.keyframe, pts_ns, wall_ns - now_ns + pts_ns, index, p.luma, 0, p.delay_us)

    def _take(self, captured: Frame) -> None:
        with self._lock:
            self._waiting -= 1
        if not self.stop.is_set():
            self.came_s = self._loop.time()
            frame = self._groups.place(captured)
            if frame is None:
                if captured.keyframe and self._groups.left_out == 1:
                    log.warning("%s: parameter sets go to and fro: groups with others are left out", self._label)
                return
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
