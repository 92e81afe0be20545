"""The memory outbox: bounded, counted, and honest about what it gave up."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from agent.frame import ItemType, Worth
from agent.outbox import MAX_GAPS, MemoryOutbox


def fill(outbox: MemoryOutbox, count: int, size: int = 100) -> None:
    for i in range(count):
        outbox.put(ItemType.CLIP, 1, i, b"x" * size)


async def test_items_wait_until_acknowledged() -> None:
    outbox = MemoryOutbox("porch")
    fill(outbox, 3)
    first = await outbox.session().take()
    assert (first.camera, first.seq) == ("porch", 1)
    assert (await outbox.session().take()).seq == 1, "reading does not remove"
    outbox.ack(1, [(3, 3)])
    assert (await outbox.session().take()).seq == 2
    outbox.ack(3)
    await outbox.drained()
    assert (outbox.bytes, outbox.acked_items) == (0, 3)


@given(st.lists(st.tuples(st.integers(-1, 45), st.lists(st.tuples(st.integers(-2, 50), st.integers(-2, 50))))))
def test_what_was_acknowledged_is_gone_in_whatever_order_it_was_told(
    told: list[tuple[int, list[tuple[int, int]]]],
) -> None:
    outbox, left = MemoryOutbox("porch"), set(range(1, 41))
    fill(outbox, 40)
    for upto, have in told:
        outbox.ack(upto, have)
        left -= set(range(1, upto + 1)).union(*(range(first, last + 1) for first, last in have))
        assert (len(outbox), outbox.bytes, outbox.acked_items) == (len(left), 100 * len(left), 40 - len(left))
        assert outbox.backlog().oldest_wall_ns == (min(left) - 1 if left else None)


async def test_a_session_hands_each_out_once_and_waits_for_what_is_not_there_yet() -> None:
    outbox = MemoryOutbox("porch")
    session = outbox.session()
    waiting = asyncio.ensure_future(session.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    fill(outbox, 2)
    assert [(await waiting).seq, (await session.take()).seq] == [1, 2]


async def test_when_full_the_oldest_go_counted_and_declared() -> None:
    outbox = MemoryOutbox("porch", max_bytes=350)
    fill(outbox, 10)
    assert outbox.bytes <= 350
    assert outbox.dropped_items == 7
    assert outbox.dropped() == [(1, 7, "quota")]
    assert outbox.backlog().missing == {"quota": 7}
    outbox.ack(7)
    assert outbox.dropped() == []


async def test_when_full_stills_go_first_and_the_beginnings_of_events_last() -> None:
    outbox = MemoryOutbox("porch", max_bytes=300)
    for i, worth in enumerate([Worth.HEAD, Worth.BODY, Worth.STILL, Worth.HEAD, Worth.BODY, Worth.HEAD, Worth.STILL]):
        outbox.put(ItemType.CLIP, 1, i, b"x" * 100, worth)
    assert outbox.dropped() == [(2, 3, "quota"), (5, 5, "quota"), (7, 7, "quota")]
    session = outbox.session()
    assert [(await session.take()).seq for _ in range(len(outbox))] == [1, 4, 6]


async def test_one_item_larger_than_the_bound_still_leaves() -> None:
    outbox = MemoryOutbox("porch", max_bytes=10)
    fill(outbox, 1, 1000)
    assert (await outbox.session().take()).seq == 1


async def test_a_refused_item_is_given_up_and_declared() -> None:
    outbox = MemoryOutbox("porch")
    fill(outbox, 2)
    outbox.refuse(1)
    outbox.refuse(1)
    assert outbox.dropped() == [(1, 1, "refused")] and outbox.dropped_items == 1
    outbox.refuse(2)
    await asyncio.wait_for(outbox.drained(), 60)


async def test_each_outbox_has_a_spool_name_of_its_own() -> None:
    assert MemoryOutbox("a").spool != MemoryOutbox("a").spool


async def test_who_stops_waiting_loses_no_item() -> None:
    outbox = MemoryOutbox("porch")
    session = outbox.session()
    waiting = asyncio.ensure_future(session.take())
    await asyncio.sleep(0)
    fill(outbox, 1)
    waiting.cancel()
    assert (await asyncio.wait_for(session.take(), 60)).seq == 1


async def test_what_was_given_up_takes_bounded_memory() -> None:
    outbox = MemoryOutbox("porch", max_bytes=1 << 30)
    fill(outbox, 6 * MAX_GAPS, 1)
    for seq in range(1, 6 * MAX_GAPS, 2):
        outbox.refuse(seq)
        outbox.ack(0, [(seq + 1, seq + 1)])
    gaps = outbox.dropped()
    assert len(gaps) < 2 * MAX_GAPS and gaps[-1] == (6 * MAX_GAPS - 1, 6 * MAX_GAPS - 1, "refused")
    assert outbox.backlog().missing == {"refused": 3 * MAX_GAPS}
    assert len(outbox._acked.all()) < 2 * MAX_GAPS + 2
    outbox.ack(6 * MAX_GAPS)
    assert outbox.dropped() == [] == outbox._gone.all()
