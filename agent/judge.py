"""Judges the newest frame: in the loop while a look is short, else in a thread for which the loop never waits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable

from agent.frame import Decision, Frame

Analyse = Callable[[Frame], Decision]
Verdict = tuple[Frame, Decision | ValueError]
END_S = 1.0
"""How long `close` waits for the analysis under way; a thread that hangs longer is left behind, it is a daemon."""
SHORT_S = 0.005
"""A look that takes less is not worth handing over: that costs a tenth of the CPU of an agent at 640×480."""


class Judge:
    """`offer` a frame whenever a look is due: the newest waits, older ones were never looked at.

    Where looks have lately been short, the next is made by the loop itself, after what the frame woke (live view).
    Verdicts (a ValueError: the picture could not be decoded) are fetched with `verdicts()`. The loop is woken
    through `urgent` only for those that `presses` says cannot wait for the next frame: each waking costs as much as
    receiving a picture. Any other exception of `analyse` ends the thread and is the result of `failed`.
    """

    def __init__(
        self, name: str, analyse: Analyse, presses: Callable[[Decision], bool], urgent: Callable[[], None]
    ) -> None:
        self._analyse = analyse
        self._presses = presses
        self._urgent = urgent
        self._loop = asyncio.get_running_loop()
        self._newest: Frame | None = None
        self._done: deque[Verdict] = deque(maxlen=256)
        self._go = threading.Lock()
        self._go.acquire()
        self._closed = False
        self._look_s = 1.0  # the mean lately; nothing is known yet, so the first ones are the thread's
        self._given = 0  # how often the thread was told to work, counted by the loop alone
        self._taken = 0  # up to which of them it has, counted by the thread alone
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._work, name=f"motion-{name}", daemon=True)
        self._thread.start()

    def offer(self, frame: Frame | None) -> None:
        """Look at this frame next; None: forget the one that waits."""
        self._newest = frame
        if frame is None:
            return
        if self._look_s < SHORT_S and self._given == self._taken:
            self._loop.call_soon(self._look)
        else:
            self._given += 1
            self._release()

    def verdicts(self) -> list[Verdict]:
        """What was found since the last call, in order."""
        found = []
        while self._done:
            found.append(self._done.popleft())
        return found

    def _release(self) -> None:
        # Only this side releases and only the thread acquires: locked means that the thread waits or is about to.
        if self._go.locked():
            self._go.release()

    def _work(self) -> None:
        while True:
            self._go.acquire()
            if self._closed:
                return
            given = self._given
            try:
                if self._judged():
                    self._tell(self._urgent)
            except BaseException as e:
                self._tell(self._fail, e)
                return
            self._taken = given

    def _look(self) -> None:
        try:
            if not self._closed and self._judged():
                self._urgent()
        except Exception as e:
            self._fail(e)

    def _judged(self) -> bool:
        """Look at the frame that waits, if one does; whether its verdict presses."""
        frame, self._newest = self._newest, None
        if frame is None:
            return False
        begun = time.perf_counter()
        verdict: Decision | ValueError
        try:
            verdict = self._analyse(frame)
        except ValueError as e:
            verdict = e
        self._look_s += (time.perf_counter() - begun - self._look_s) / 8
        self._done.append((frame, verdict))
        return isinstance(verdict, Decision) and self._presses(verdict)

    def _tell(self, call: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            pass  # the loop has ended, and the verdict's reader with it

    def _fail(self, e: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(e)

    def close(self) -> None:
        """End the thread after the analysis under way."""
        self._closed = True
        self._newest = None
        self._release()
        self._thread.join(END_S)
