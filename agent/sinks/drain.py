"""How a sink without a window goes through its outbox: an item at a time, each once in a run."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from agent.frame import Item
from agent.outbox import Outbox, Session


class Drain:
    """One run's way through the outbox; use it with `async with`."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._session: Session | None = None
        self._next: asyncio.Future[Item] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)

    async def take(self, timeout_s: float) -> Item | None:
        """The next item; waits for one, at most `timeout_s`: then None. The first call fixes what is not there yet."""
        if self._session is None:
            self._session = self._outbox.session()
        if self._next is None:
            self._next = asyncio.ensure_future(self._session.take())
        # Not cancelled when the time is over: what is being read from the spool then would be passed over.
        done, _ = await asyncio.wait({self._next}, timeout=timeout_s)
        if not done:
            return None
        item, self._next = self._next.result(), None
        return item

    def done(self, item: Item) -> None:
        """The other end has it."""
        self._outbox.ack(0, [(item.seq, item.seq)])

    def refuse(self, item: Item, why: str = "refused") -> None:
        """The other end will never take it."""
        self._outbox.refuse(item.seq, why)

    def losses(self) -> list[tuple[int, int, str]]:
        """Closed ranges that were given up and that the other end does not know of, and why."""
        return self._outbox.dropped()
