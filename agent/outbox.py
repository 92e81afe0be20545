"""What a sink drains: items, the most urgent first, kept until the other end has stored them."""

from __future__ import annotations

import asyncio
import secrets
import weakref
from collections.abc import Callable, Iterable
from typing import Protocol

from agent.frame import Item, ItemType, Worth
from agent.spool.acks import FORMER
from agent.spool.gone import Gone
from agent.spool.line import Backlog, Line, Part
from agent.spool.ranges import Ranges

MIB = 1024 * 1024
MAX_GAPS = 1000


class Session(Protocol):
    """One connection's line of items: each is handed out once, in the order in which it should leave.

    Use either `take` or `part`.
    """

    async def take(self) -> Item:
        """The next item; waits until there is one."""
        ...

    @property
    def unfinished(self) -> bool:
        """Whether an item has begun of which parts are left."""
        ...

    async def part(self, max_bytes: int, begin: bool = True) -> Part:
        """The next part of at most `max_bytes`: what happens now overtakes between the parts of what waited.

        Without `begin` nothing overtakes.
        """
        ...


class Outbox(Protocol):
    """Items of one camera for one sink. Acknowledgements may come late, twice, or for what is long gone."""

    @property
    def spool(self) -> str: ...

    @property
    def next_seq(self) -> int: ...

    @property
    def progress(self) -> int:
        """Rises whenever the other end acknowledges something."""
        ...

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        ...

    def session(self) -> Session:
        """A new line with everything that is not acknowledged; the session before gets nothing more."""
        ...

    def ack(self, upto: int, have: Iterable[tuple[int, int]] = ()) -> None:
        """Everything up to `upto`, and the closed ranges `have`, is durable at the other end."""
        ...

    def resume(self, upto: int, have: Iterable[tuple[int, int]] = (), camera_id: str = "") -> None:
        """This, and no more, is at the other end: to be said before `session`.

        What it has lost since (a store restored from an old backup) is sent again as far as it is still here. But
        with another `camera_id` than before ("": it tells none) it is another camera of that name: what the former
        one had was deleted with it, stays acknowledged and is declared (`former`).
        """
        ...

    def refuse(self, seq: int, why: str = "refused") -> None:
        """The other end will never take this item: give it up, counted. `conflict`: another has its number."""
        ...

    def dropped(self) -> list[tuple[int, int, str]]:
        """(first, last, why) of the numbers given up that the other end has not acknowledged."""
        ...

    def backlog(self) -> Backlog: ...

    async def drained(self) -> None:
        """Wait until the other end has everything."""
        ...


class Spooling(Protocol):
    """Where a camera's items are kept for its sinks: in memory here, on disk in `agent.spool`."""

    @property
    def next_seq(self) -> int: ...

    @property
    def upkeep(self) -> int | None:
        """Changes whenever the disk takes an item or refuses one; None while none waits for it."""
        ...

    def put(self, type_: ItemType, event: int, wall_ns: int, payload: bytes, worth: Worth) -> object:
        """Number the payload, digest it and keep it; never waits."""
        ...

    def outbox(self, sink: str) -> Outbox: ...

    async def run(self) -> None:
        """Until it is cancelled; raises when nothing can be kept any more."""
        ...

    async def close(self) -> None: ...


class MemorySpool:
    """Each sink's items in memory, at most `max_bytes` a sink."""

    def __init__(self, camera: str, sinks: Iterable[str], max_bytes: int = 32 * MIB) -> None:
        self._outboxes = {sink: MemoryOutbox(camera, max_bytes) for sink in sinks}

    @property
    def next_seq(self) -> int:
        return max((o.next_seq for o in self._outboxes.values()), default=1)

    @property
    def upkeep(self) -> None:
        return None

    def put(self, type_: ItemType, event: int, wall_ns: int, payload: bytes, worth: Worth) -> None:
        for outbox in self._outboxes.values():
            outbox.put(type_, event, wall_ns, payload, worth)

    def outbox(self, sink: str) -> MemoryOutbox:
        return self._outboxes[sink]

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        pass


class MemoryOutbox:
    """An outbox in memory: when it is full, what is worth least is given up, the oldest first, counted and declared.

    Of the gaps that the other end does not acknowledge (many cannot be told of any) the newest MAX_GAPS are kept.
    """

    def __init__(self, camera: str, max_bytes: int = 32 * MIB) -> None:
        self.camera = camera
        self.spool = secrets.token_hex(8)
        self.next_seq = 1
        self.bytes = 0
        self.dropped_items = 0
        self.acked_items = 0
        self._max_bytes = max_bytes
        self._items: dict[int, tuple[Item, Worth]] = {}
        self._gone = Gone()
        self._missing: dict[str, int] = {}
        self._acked = Ranges()
        self._camera_id = ""
        self._former = Ranges()
        self._session: Callable[[], Line | None] = lambda: None  # while it lasts
        self._emptied = asyncio.Event()
        self._emptied.set()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, type_: ItemType, event: int, wall_ns: int, payload: bytes, worth: Worth = Worth.HEAD) -> Item:
        """Number the payload, digest it and keep it; never waits."""
        item = Item(self.camera, self.spool, self.next_seq, type_, event, wall_ns, payload, Item.digest(payload))
        self.next_seq += 1
        self._items[item.seq] = item, worth
        self.bytes += len(payload)
        while self.bytes > self._max_bytes and len(self._items) > 1:
            self._give_up(min(self._items, key=lambda seq: (self._items[seq][1], seq)), "quota")
        if (line := self._session()) is not None:
            line.add(item.seq, worth, event)
        self._emptied.clear()
        return item

    async def _read(self, seq: int) -> Item | None:
        found = self._items.get(seq)
        return found[0] if found else None

    @property
    def progress(self) -> int:
        return self.acked_items

    @property
    def idle(self) -> bool:
        return not self._items

    def session(self) -> Line:
        line = Line(self._read, lambda seq: seq not in self._items)
        self._session = weakref.ref(line)
        for seq, (_, worth) in self._items.items():
            line.add(seq, worth, 0)
        return line

    def _give_up(self, seq: int, why: str) -> None:
        self._forget(seq)
        self.dropped_items += 1
        self._missing[why] = self._missing.get(why, 0) + 1
        self._gone.add(seq, seq, why)
        if self.dropped_items % MAX_GAPS == 0:
            for first, last, _ in self.dropped()[:-MAX_GAPS]:
                self._acked.add(first, last)
            self.dropped()

    def _forget(self, seq: int) -> None:
        self.bytes -= len(self._items.pop(seq)[0].payload)
        if not self._items:
            self._emptied.set()

    def ack(self, upto: int, have: Iterable[tuple[int, int]] = ()) -> None:
        top = self.next_seq - 1
        told = [(max(first, 1), min(last, top)) for first, last in ((1, upto), *have)]
        news = [range(a, b + 1) for first, last in told for a, b in self._acked.holes(first, last)]
        self._acked.update(told)
        for new in news:
            # Never through all that waits for each of many: a long backlog is acknowledged item by item.
            gone = [s for s in (new if len(new) < len(self._items) else self._items) if s in new and s in self._items]
            for seq in gone:
                self._forget(seq)
            self.acked_items += len(gone)

    def resume(self, upto: int, have: Iterable[tuple[int, int]] = (), camera_id: str = "") -> None:
        had, self._acked = self._acked, Ranges()
        if self._camera_id and camera_id and camera_id != self._camera_id:
            self._former.update(had.all())
        self._camera_id = camera_id or self._camera_id
        self.ack(upto, have)
        for first, last in self._acked.holes(1, self.next_seq - 1):
            for a, b in Ranges(had.holes(first, last)).holes(first, last):  # lost there, and not here any more
                self._lost(a, b)

    def _lost(self, first: int, last: int) -> None:
        quota = self._former.holes(first, last)
        for a, b in quota:
            self._gone.add(a, b, "quota")
            self._missing["quota"] = self._missing.get("quota", 0) + b - a + 1
        for a, b in Ranges(quota).holes(first, last):
            self._gone.add(a, b, FORMER)

    def refuse(self, seq: int, why: str = "refused") -> None:
        if seq in self._items:
            self._give_up(seq, why)

    def dropped(self) -> list[tuple[int, int, str]]:
        return self._gone.without(self._acked)

    def backlog(self) -> Backlog:
        oldest = min((i.wall_ns for i, _ in self._items.values()), default=None)
        return Backlog(
            self.spool, self.next_seq, self._acked.upto, dict(self._missing), len(self._items), self.bytes, oldest
        )

    async def drained(self) -> None:
        await self._emptied.wait()
