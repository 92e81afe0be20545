"""Judges frames: one in the loop while a look is short, else in a thread for which the loop never waits."""

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
MOST_WAITING = 16


class Judge:
    """`offer` a frame whenever a look is due. A thread that is late looks at the newest: older ones never are.

    But for those of a burst, which are offered within `burst_s` of each other: up to 16 of them wait.
    Where looks have lately been short, the next is made by the loop itself, after what the frame woke (live view).
    Frames whose verdict is not needed yet wait for each other: the first of a row, with cold caches, costs double.
    Verdicts (a ValueError: the picture could not be decoded) are fetched with `verdicts()`. The loop is woken
    through `urgent` only for those that `presses` says cannot wait for the next frame: each waking costs as much as
    receiving a picture. Any other exception of `analyse` ends the thread and is the result of `failed`.
    """

    def __init__(
        self,
        name: str,
        analyse: Analyse,
        presses: Callable[[Decision], bool],
        urgent: Callable[[], None],
        burst_s: float = 0.0,
    ) -> None:
        self._analyse = analyse
        self._presses = presses
        self._urgent = urgent
        self._burst_s = burst_s
        self._offered_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Frame] = deque()
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

    def offer(self, frame: Frame, together: int = 1) -> None:
        """Look at this frame next, as soon as `together` wait; no more than so many do when the thread is late."""
        now_s = self._loop.time()
        most = together if now_s - self._offered_s >= self._burst_s else max(together, MOST_WAITING)
        self._offered_s = now_s
        if not self._go.locked():
            while len(self._waiting) >= most and self._oldest():
                pass
        self._waiting.append(frame)
        if len(self._waiting) < together:
            return
        if len(self._waiting) == 1 and self._look_s < SHORT_S and self._given == self._taken:
            self._loop.call_soon(self._look)
        else:
            self._given += 1
            self._release()

    def forget(self) -> None:
        """Do not look at what waits."""
        self._waiting.clear()

    def _oldest(self) -> Frame | None:
        try:
            return self._waiting.popleft()
        except IndexError:
            return None  # the other side of the thread was quicker

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
                while frame := self._oldest():
                    if self._judged(frame):
                        self._tell(self._urgent)
            except BaseException as e:
                self._tell(self._fail, e)
                return
            self._taken = given

    def _look(self) -> None:
        if self._closed or self._given != self._taken or not (frame := self._oldest()):
            return
        try:
            if self._judged(frame):
                self._urgent()
        except Exception as e:
            self._fail(e)

    def _judged(self, frame: Frame) -> bool:
        """Look at the frame; whether its verdict presses."""
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
        self.forget()
        self._release()
        self._thread.join(END_S)
