"""Where browsers are at work: their spare connections say nothing, as clients do that wait for a greeting.

A browser connects as often as it has requests at once, and keeps what it did not need for the next ones. One that was
greeted meanwhile takes the greeting for the answer to its request, and shows an error instead of the page.
"""

from __future__ import annotations

import asyncio

MAX_HOSTS = 1000


class Browsers:
    """When each address last sent a browser's request; bounded, the oldest is forgotten."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._last_s: dict[str, float] = {}

    def seen(self, host: str) -> None:
        """A browser's request came from `host` just now."""
        self._last_s.pop(host, None)
        self._last_s[host] = self._loop.time()
        if len(self._last_s) > MAX_HOSTS:
            del self._last_s[next(iter(self._last_s))]

    def since(self, host: str, time_s: float) -> bool:
        """Whether one came from `host` at this time of the loop's clock or later."""
        return self._last_s.get(host, float("-inf")) >= time_s
