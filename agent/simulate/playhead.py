"""Where the film is: the same for everybody who looks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque

from agent.media.footage import Footage, Reel
from agent.media.spoil import stamp

log = logging.getLogger(__name__)


class PlayHead:
    """Where the film is: moves on at its pace from the first look on, the same for everybody who looks.

    The last `keep` pictures wait for those who look late.
    """

    def __init__(self, footage: Footage, fps: float, loop: bool, stamped: bool, keep: int = 1) -> None:
        self._footage = footage
        self._period_s = 1.0 / fps
        self._loop = loop
        self._stamped = stamped
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.number = -1
        self._pictures: deque[bytes] = deque(maxlen=keep)
        self.ended = False

    @property
    def picture(self) -> bytes:
        """The newest."""
        return self._pictures[-1] if self._pictures else b""

    def next(self, number: int) -> tuple[int, bytes]:
        """The picture behind `number`, or the oldest that is still there, and its number."""
        back = min(self.number - number, len(self._pictures))
        return self.number - back + 1, self._pictures[-back]

    async def after(self, number: int) -> bool:
        """Wait for a picture with a higher number; False when the film has ended before."""
        if self._task is None:
            self._task = asyncio.create_task(self._play(), name="simulated camera")
        while self.number <= number and not self.ended:
            await self._moved.wait()
        return self.number > number

    async def _play(self) -> None:
        clock = asyncio.get_running_loop().time
        due, reel, played = clock(), Reel(self._footage), False
        try:
            while True:
                picture = await reel.next()
                if picture is None:
                    if not (self._loop and played):
                        break
                    reel.rewind()
                    played = False
                    continue
                await asyncio.sleep(due - clock())
                due = max(due + self._period_s, clock() - 1.0)
                played = True
                self._show(picture)
            # The last picture, too, stands for its time.
            await asyncio.sleep(due - clock())
        except (OSError, ValueError) as e:
            log.warning("%s: %s", self._footage.path, e)
        finally:
            await reel.close()
        self.ended = True
        self._wake()

    def _show(self, picture: bytes) -> None:
        self._pictures.append(stamp(picture, time.time_ns()) if self._stamped else picture)
        self.number += 1
        self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
