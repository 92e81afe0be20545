"""Pictures that come several at once get the times that they were made at."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.sources.spread import LONGEST_NS, ONE_NS, Spread

MS = 1_000_000
START_NS = 5_000 * MS


def times(arrivals_ms: list[float]) -> list[float]:
    spread = Spread()
    return [round((spread.at(START_NS + round(ms * MS)) - START_NS) / MS, 1) for ms in arrivals_ms]


def bursts(sizes: list[int], camera_ms: float = 100.0, apart_ms: float = 0.2) -> list[float]:
    """When pictures come of which each waits for the last of its burst."""
    arrivals, made = [], 0
    for size in sizes:
        made += size
        arrivals += [made * camera_ms + i * apart_ms for i in range(size)]
    return arrivals


def test_pictures_that_come_one_by_one_have_the_time_of_their_arrival() -> None:
    rng = random.Random(1)
    arrivals = [n * 100 + rng.uniform(-40, 40) for n in range(200)]
    assert times(arrivals) == [round(ms, 1) for ms in arrivals]


def test_a_line_that_halts_now_and_then_moves_no_picture_that_comes_alone() -> None:
    arrivals = [n * 100.0 if n % 30 >= 5 else (n // 30 * 30 + 5) * 100.0 - 0.5 + n % 30 / 10 for n in range(300)]
    assert times(arrivals) == [round(ms, 1) for ms in arrivals]


def test_a_line_that_jitters_moves_hardly_a_picture() -> None:
    rng = random.Random(3)
    arrivals = sorted(n * 100 + rng.uniform(0, 120) for n in range(1262))
    moved = [made - came for made, came in zip(times(arrivals), arrivals, strict=True) if came - made > 1]
    assert len(moved) <= 1


def test_bursts_of_one_size_get_the_cameras_spacing_from_the_fifth_on() -> None:
    assert times(bursts([10] * 7))[40:] == [n * 100.0 for n in range(41, 71)]


def test_bursts_over_a_line_that_takes_its_time_are_spread_as_well() -> None:
    found = times(bursts([10] * 7, apart_ms=15))[42:]
    assert all(95 <= b - a <= 105 for a, b in pairwise(found))


def test_bursts_of_many_sizes_leave_no_second_without_pictures() -> None:
    rng = random.Random(2)
    found = times(bursts([rng.randint(6, 14) for _ in range(40)]))[28:]
    gaps = [b - a for a, b in pairwise(found)]
    assert max(gaps) < 600 and sum(g <= 200 for g in gaps) > 0.9 * len(gaps)


def test_when_the_bursts_are_over_arrival_counts_again() -> None:
    arrivals = bursts([10] * 5)
    later = [arrivals[-1] + n * 100.0 for n in range(1, 20)]
    assert times(arrivals + later)[-17:] == [round(ms, 1) for ms in later[2:]]


def test_a_camera_that_was_silent_did_not_make_its_pictures_in_the_silence() -> None:
    arrivals = bursts([10] * 5)
    after = [arrivals[-1] + LONGEST_NS / MS + 500 + i / 10 for i in range(10)]
    assert times(arrivals + after)[-10:] == [round(ms, 1) for ms in after]


@given(st.lists(st.just(0) | st.integers(0, 3_000 * MS) | st.integers(0, MS), max_size=80))
def test_time_rises_and_is_never_in_the_future(gaps_ns: list[int]) -> None:
    spread, now_ns, last_ns = Spread(), START_NS, 0
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        at_ns = spread.at(now_ns)
        assert last_ns < at_ns <= max(now_ns, last_ns + ONE_NS) and now_ns - at_ns <= LONGEST_NS * 2
        last_ns = at_ns
