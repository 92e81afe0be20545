"""What a sink drains: items in order, kept until acknowledged, bounded in bytes."""

import asyncio
import secrets
from typing import Protocol

from agent.frame import Item, ItemType


class Outbox(Protocol):
    """Items of one camera for one sink. Several acks may come late or twice."""

    @property
    def spool(self) -> str: ...

    @property
    def next_seq(self) -> int: ...

    async def after(self, seq: int) -> Item:
        """The first item kept with a number above `seq`; waits until there is one."""
        ...

    def ack(self, upto: int, have: list[tuple[int, int]] | None = None) -> None:
        """Everything up to `upto`, and the closed ranges `have`, is durable at the other end."""
        ...

    def refuse(self, seq: int) -> None:
        """The other end will never take this item: give it up, counted."""
        ...

    def dropped(self) -> list[tuple[int, int]]:
        """Closed ranges of numbers given up and not yet acknowledged by the other end."""
        ...


class MemoryOutbox:
    """An outbox in memory: when it is full the oldest items are given up, counted and declared."""

    def __init__(self, camera: str, max_bytes: int = 32 * 1024 * 1024) -> None:
        self.camera = camera
        self.spool = secrets.token_hex(8)
        self.next_seq = 1
        self.bytes = 0
        self.dropped_items = 0
        self.acked_items = 0
        self._max_bytes = max_bytes
        self._items: dict[int, Item] = {}
        self._dropped: list[tuple[int, int]] = []
        self._added = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, type_: ItemType, event: int, wall_ns: int, payload: bytes) -> Item:
        """Number the payload, digest it and keep it; never waits."""
        item = Item(self.camera, self.spool, self.next_seq, type_, event, wall_ns, payload, Item.digest(payload))
        self.next_seq += 1
        self._items[item.seq] = item
        self.bytes += len(payload)
        while self.bytes > self._max_bytes and len(self._items) > 1:
            self._give_up(next(iter(self._items)))
        self._added.set()
        self._emptied.clear()
        return item

    def _give_up(self, seq: int) -> None:
        self.bytes -= len(self._items.pop(seq).payload)
        self.dropped_items += 1
        if self._dropped and self._dropped[-1][1] == seq - 1:
            self._dropped[-1] = (self._dropped[-1][0], seq)
        else:
            self._dropped.append((seq, seq))

    async def after(self, seq: int) -> Item:
        while True:
            if self.next_seq - 1 > seq:
                for s, item in self._items.items():
                    if s > seq:
                        return item
            self._added.clear()
            await self._added.wait()

    def ack(self, upto: int, have: list[tuple[int, int]] | None = None) -> None:
        gone = [s for s in self._items if s <= upto or any(a <= s <= b for a, b in have or ())]
        for s in gone:
            self.bytes -= len(self._items.pop(s).payload)
        self.acked_items += len(gone)
        self._dropped = [(a, b) for a, b in self._dropped if b > upto]
        if not self._items:
            self._emptied.set()

    def refuse(self, seq: int) -> None:
        if seq in self._items:
            self._give_up(seq)
            if not self._items:
                self._emptied.set()

    def dropped(self) -> list[tuple[int, int]]:
        return list(self._dropped)

    async def drained(self) -> None:
        """Wait until nothing is kept."""
        await self._emptied.wait()
