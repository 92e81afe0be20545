"""How much may be under way over a line of unknown speed, so that what is urgent finds it nearly empty.

A ping follows the parts and its pong says that they have arrived: kernels, proxies and radios on the way hold
seconds of data on a slow line, of which acknowledgements of TCP tell nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

LEAST_BYTES = 8 * 1024
MOST_BYTES = 4 * 1024 * 1024
FIRST_BYTES = 64 * 1024
PART_BYTES = 64 * 1024  # what is copied and masked on its way stays in the cache
LAG_S = 0.3  # over the line's own time there and back


class Pace:
    """`sent` after each part, `echoed` with each pong; `room` waits while too much is under way."""

    def __init__(self, now_s: Callable[[], float] = monotonic) -> None:
        self._now_s = now_s
        self._budget = FIRST_BYTES
        self._under_way = 0
        self._unmarked = 0
        self._marks: deque[tuple[bytes, int, float]] = deque()
        self._count = 0
        self._shortest_s: float | None = None
        self._freed = asyncio.Event()

    @property
    def part_bytes(self) -> int:
        """How large the next part may be: half of what may be under way, so that the line is never idle."""
        return min(PART_BYTES, self._budget // 2)

    def sent(self, size: int) -> bytes | None:
        """A part of this size went out; returns the ping that shall follow it, if one is due."""
        self._under_way += size
        self._unmarked += size
        return self.mark() if self._unmarked >= self._budget // 2 else None

    def mark(self) -> bytes:
        """The next ping's payload."""
        self._count += 1
        mark = self._count.to_bytes(8, "big")
        self._marks.append((mark, self._unmarked, self._now_s()))
        self._unmarked = 0
        return mark

    def echoed(self, mark: bytes) -> None:
        """Its pong came: what went before it has arrived."""
        if all(mark != m for m, _, _ in self._marks):
            return
        seen, waited_s = b"", 0.0
        while seen != mark:
            seen, size, at_s = self._marks.popleft()
            self._under_way -= size
            waited_s = self._now_s() - at_s
        self._shortest_s = waited_s if self._shortest_s is None else min(self._shortest_s, waited_s)
        allowed_s = self._shortest_s + LAG_S
        if waited_s > allowed_s:
            self._budget = max(LEAST_BYTES, int(self._budget * max(0.25, allowed_s / waited_s)))
        elif waited_s < allowed_s - LAG_S / 2:
            self._budget = min(MOST_BYTES, self._budget * 2)
        self._freed.set()

    async def room(self) -> None:
        """Wait until a part may be sent."""
        while self._under_way - self._unmarked >= self._budget:
            self._freed.clear()
            await self._freed.wait()

    @property
    def oldest_s(self) -> float:
        """For how long the oldest ping is without its pong, in seconds; 0 when none is."""
        return self._now_s() - self._marks[0][2] if self._marks else 0.0
