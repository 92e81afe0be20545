"""The order of sending: now first, nobody starves."""

from agent.frame import Worth
from agent.spool.order import Order, Rank


def drain(order: Order, count: int, size: int = 100_000) -> list[tuple[int, Rank]]:
    out = []
    for _ in range(count):
        found = order.next()
        assert found is not None
        order.sent(found[1], size)
        out.append(found)
    return out


def test_now_then_heads_then_bodies_then_stills() -> None:
    order = Order()
    order.add(1, Worth.STILL)
    order.add(2, Worth.BODY)
    order.add(3, Worth.HEAD)
    order.add(4, Worth.HEAD, event=9)
    assert [seq for seq, _ in drain(order, 4, 0)] == [4, 3, 2, 1]
    assert order.next() is None and len(order) == 0


def test_a_new_event_pushes_the_last_one_into_the_backlog() -> None:
    order = Order()
    order.add(1, Worth.HEAD, event=1)
    order.add(2, Worth.BODY, event=1)
    order.add(3, Worth.HEAD, event=2)
    assert [seq for seq, _ in drain(order, 3, 0)] == [3, 1, 2]


def test_no_rank_starves() -> None:
    order = Order()
    for i in range(2000):
        order.add(i, Worth.HEAD, event=1)
        for n, worth in enumerate(Worth):
            order.add(10_000 + 4 * i + n, worth)
    sent = [rank for _, rank in drain(order, 1000)]
    assert sent.count(Rank.NOW) > 650
    for rank, share in ((Rank.HEAD, 0.1), (Rank.BODY, 0.1), (Rank.STILL, 0.05)):
        assert abs(sent.count(rank) / 1000 - share) < 0.02
