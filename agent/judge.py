"""Judges the newest frame in a thread of its own; the capture loop never waits for it and is seldom woken by it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from agent.frame import Decision, Frame

Analyse = Callable[[Frame], Decision]
Verdict = tuple[Frame, Decision | ValueError]
END_S = 1.0
"""How long `close` waits for the analysis under way; a thread that hangs longer is left behind, it is a daemon."""


class Judge:
    """`offer` a frame whenever a look is due: the newest waits, older ones were never looked at.

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
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._work, name=f"motion-{name}", daemon=True)
        self._thread.start()

    def offer(self, frame: Frame | None) -> None:
        """Look at this frame next; None: forget the one that waits."""
        self._newest = frame
        if frame is not None:
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
            frame, self._newest = self._newest, None
            if frame is None:
                continue
            verdict: Decision | ValueError
            try:
                verdict = self._analyse(frame)
            except ValueError as e:
                verdict = e
            except BaseException as e:
                self._tell(self._fail, e)
                return
            self._done.append((frame, verdict))
            if isinstance(verdict, Decision) and self._presses(verdict):
                self._tell(self._urgent)

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
