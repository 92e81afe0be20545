"""A connection's line: parts in order, and what happens now between them."""

from __future__ import annotations

import asyncio

from agent.frame import Item, ItemType, Worth
from agent.spool.line import MAX_OPEN, Line


class Store:
    """Items by number."""

    def __init__(self) -> None:
        self.items: dict[int, Item] = {}
        self.line = Line(self.read, lambda seq: False)

    async def read(self, seq: int) -> Item | None:
        return self.items.get(seq)

    def add(self, seq: int, size: int, event: int = 0, worth: Worth = Worth.BODY, now: bool = False) -> None:
        payload = bytes(size)
        self.items[seq] = Item("porch", "0" * 16, seq, ItemType.CLIP, event, 0, payload, b"")
        self.line.add(seq, worth, event if now else 0)

    async def parts(self, count: int, size: int = 1000) -> list[tuple[int, int, int]]:
        got = [await asyncio.wait_for(self.line.part(size), 60) for _ in range(count)]
        return [(p.item.seq, p.start, p.end) for p in got]


async def test_an_item_goes_in_parts_to_its_end() -> None:
    store = Store()
    store.add(1, 2500)
    store.add(2, 0)
    store.add(3, 1000)
    assert await store.parts(5) == [(1, 0, 1000), (1, 1000, 2000), (1, 2000, 2500), (2, 0, 0), (3, 0, 1000)]


async def test_what_happens_now_overtakes_between_two_parts() -> None:
    store = Store()
    store.add(1, 5000, event=1)
    assert await store.parts(1) == [(1, 0, 1000)]
    store.add(2, 500, event=2, worth=Worth.HEAD, now=True)
    store.add(3, 1500, event=2, worth=Worth.HEAD, now=True)
    assert await store.parts(5) == [(2, 0, 500), (3, 0, 1000), (3, 1000, 1500), (1, 1000, 2000), (1, 2000, 3000)]


async def test_nothing_overtakes_where_nothing_else_may_begin() -> None:
    store = Store()
    store.add(1, 2000, event=1)
    await store.parts(1)
    assert store.line.unfinished
    store.add(2, 500, event=2, worth=Worth.HEAD, now=True)
    part = await store.line.part(1000, begin=False)
    assert (part.item.seq, part.start, part.end) == (1, 1000, 2000) and not store.line.unfinished
    assert await store.parts(1) == [(2, 0, 500)]


async def test_newer_events_overtake_older_ones_and_few_are_unfinished() -> None:
    store = Store()
    unfinished: set[int] = set()
    begun: list[int] = []
    for event in range(1, 9):
        store.add(event, 5000, event=event, worth=Worth.HEAD, now=True)
    for _ in range(8 * 5):
        (seq, start, end), *_ = await store.parts(1)
        begun += [seq] if not start else []
        unfinished = unfinished - {seq} if end == 5000 else unfinished | {seq}
        assert len(unfinished) <= MAX_OPEN
        if len(begun) < 8:
            store.add(100 + len(store.items), 5000, event=100 + len(store.items), worth=Worth.HEAD, now=True)
    assert begun[0] == 8 and begun[1] > 100, "the newest first"


async def test_the_backlog_moves_on_while_an_event_lasts() -> None:
    store = Store()
    for seq in range(1, 11):
        store.add(seq, 100_000, event=1)
    await store.parts(1, 10_000)
    for seq in range(11, 111):
        store.add(seq, 100_000, event=2, worth=Worth.HEAD, now=True)
    sent = await store.parts(300, 10_000)
    old = sum(end - start for seq, start, end in sent if seq <= 10)
    assert 0.07 < old / 3_000_000 < 0.2
