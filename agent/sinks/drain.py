"""How a sink without a window goes through its outbox: an item at a time, each once in a run."""

from __future__ import annotations

import asyncio

from agent.frame import Item
from agent.outbox import Outbox


class Drain:
    """One run's way through the outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._seq = 0

    async def take(self, timeout_s: float | None = None) -> Item | None:
        """The next item; waits for one, at most `timeout_s`: then None."""
        try:
            async with asyncio.timeout(timeout_s):
                item = await self._outbox.after(self._seq)
        except TimeoutError:
            return None
        self._seq = item.seq
        return item

    def done(self, item: Item) -> None:
        """The other end has it."""
        self._outbox.ack(0, [(item.seq, item.seq)])

    def refuse(self, item: Item) -> None:
        """The other end will never take it."""
        self._outbox.refuse(item.seq)

    def losses(self) -> list[tuple[int, int, str]]:
        """Closed ranges that were given up and that the other end does not know of, and why."""
        return [(first, last, "quota") for first, last in self._outbox.dropped()]
