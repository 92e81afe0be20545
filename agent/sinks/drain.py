"""How a sink without a window goes through its outbox: an item at a time, each once in a run."""

from __future__ import annotations

import asyncio

from agent.frame import Item
from agent.outbox import Outbox, Session


class Drain:
    """One run's way through the outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._session: Session | None = None

    async def take(self, timeout_s: float | None = None) -> Item | None:
        """The next item; waits for one, at most `timeout_s`: then None. The first call fixes what is not there yet."""
        if self._session is None:
            self._session = self._outbox.session()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._session.take()
        except TimeoutError:
            return None

    def done(self, item: Item) -> None:
        """The other end has it."""
        self._outbox.ack(0, [(item.seq, item.seq)])

    def refuse(self, item: Item, why: str = "refused") -> None:
        """The other end will never take it."""
        self._outbox.refuse(item.seq, why)

    def losses(self) -> list[tuple[int, int, str]]:
        """Closed ranges that were given up and that the other end does not know of, and why."""
        return self._outbox.dropped()
