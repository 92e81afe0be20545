"""Something that happens unless it is put off, again and again, for less than a timer of the loop costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def nobody() -> None:
    """Stands where nobody is called any more."""


class Later:
    """Calls `then` once nobody puts it off any more; the timer looks how late it has become meanwhile."""

    __slots__ = ("_at_s", "_loop", "_then", "_timer")

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then
        self._loop = asyncio.get_running_loop()
        self._at_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def put_off(self, by_s: float) -> None:
        """Until so long from now, whatever was said before."""
        self._at_s = self._loop.time() + by_s
        if self._timer is None or self._timer.when() > self._at_s:
            self.cancel()
            self._timer = self._loop.call_at(self._at_s, self._look)

    def cancel(self) -> None:
        """Not at all; it may be put off again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        """Not at all, and never again: what it would have called is let go of."""
        self.cancel()
        self._then = nobody

    def _look(self) -> None:
        self._timer = None
        if self._loop.time() < self._at_s:
            self._timer = self._loop.call_at(self._at_s, self._look)
        else:
            self._then()
