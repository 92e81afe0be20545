"""Ranges behave as the set of their numbers."""

from hypothesis import given
from hypothesis import strategies as st

from agent.spool.ranges import Ranges

pairs = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 6)).map(lambda p: (p[0], p[0] + p[1] - 1)), max_size=12)


@given(pairs)
def test_as_a_set(added: list[tuple[int, int]]) -> None:
    ranges, numbers = Ranges(added), {n for a, b in added for n in range(a, b + 1)}
    assert {n for n in range(0, 60) if n in ranges} == numbers
    assert all(b1 + 1 < a2 for (_, b1), (a2, _) in zip(ranges.all(), ranges.all()[1:], strict=False)), "no two touch"
    upto = 0
    while upto + 1 in numbers:
        upto += 1
    assert ranges.upto == upto
    holes = {n for a, b in ranges.holes(1, 50) for n in range(a, b + 1)}
    assert holes == set(range(1, 51)) - numbers
    for first in (1, 7, 20):
        assert ranges.covers(first, first + 3) == set(range(first, first + 4)).issubset(numbers)


def test_who_looks_while_another_thread_adds_sees_one_state() -> None:
    ranges = Ranges([(1, 2), (4, 5), (7, 8)])
    seen = ranges._spans
    ranges.add(3, 6)
    assert seen == [(1, 2), (4, 5), (7, 8)] and ranges.all() == [(1, 8)]
    assert (ranges.last, Ranges().last) == (8, 0)
