"""One connection's line of items: each handed out once, whole or in parts that something urgent may overtake."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.frame import Item, Worth
from agent.spool.order import Order, Rank

MAX_OPEN = 4


@dataclass(frozen=True, slots=True)
class Backlog:
    """Where one sink stands: everything up to `complete_to` is stored at the other end or declared missing.

    `missing`: why → how many numbers were given up. `oldest_wall_ns`: of the oldest item that waits.
    """

    spool: str
    next_seq: int
    complete_to: int
    missing: dict[str, int]
    waiting_items: int
    waiting_bytes: int
    oldest_wall_ns: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """`item.payload[start:end]`; the item's last part ends at its length."""

    item: Item
    start: int
    end: int


@dataclass(slots=True)
class _Open:
    item: Item
    rank: Rank
    at: int = 0


class Line:
    """`read` fetches an item by number, None when it is gone; `skip` tells numbers that need not be sent."""

    def __init__(self, read: Callable[[int], Awaitable[Item | None]], skip: Callable[[int], bool]) -> None:
        self._read = read
        self._skip = skip
        self._order = Order()
        self._open: list[_Open] = []
        self._fetching: tuple[int, Rank] | None = None
        self._added = asyncio.Event()

    def add(self, seq: int, worth: Worth, event: int = 0) -> None:
        """Queue a number; `event` of the event that runs now, 0 for what waited already."""
        self._order.add(seq, worth, event)
        self._added.set()

    async def take(self) -> Item:
        """The next item; waits until there is one."""
        found = await self._next()
        self._order.sent(found.rank, len(found.item.payload))
        return found.item

    @property
    def unfinished(self) -> bool:
        """Whether an item has begun of which parts are left."""
        return bool(self._open)

    async def part(self, max_bytes: int, begin: bool = True) -> Part:
        """The next part; at most MAX_OPEN items are unfinished at a time, the parts of each are in order.

        Without `begin` no other item begins while one is unfinished.
        """
        if not self._open:
            self._open.append(await self._next())
        elif begin and len(self._open) < MAX_OPEN:
            top = self._open[-1]
            if (found := self._order.overtake(top.item.event, top.rank)) and (one := await self._fetch(*found)):
                self._open.append(one)
        top = self._open[-1]
        part = Part(top.item, top.at, min(top.at + max_bytes, len(top.item.payload)))
        top.at = part.end
        self._order.sent(top.rank, part.end - part.start)
        if part.end == len(top.item.payload):
            self._open.pop()
        return part

    async def _next(self) -> _Open:
        while True:
            found = self._fetching or self._order.next()
            if found is None:
                self._added.clear()
                await self._added.wait()
            elif (one := await self._fetch(*found)) is not None:
                return one

    async def _fetch(self, seq: int, rank: Rank) -> _Open | None:
        if self._skip(seq):
            self._fetching = None
            return None
        self._fetching = seq, rank  # who is cancelled here finds it again
        item = await self._read(seq)
        self._fetching = None
        return _Open(item, rank) if item is not None else None
