"""Time stamps of cameras, which wrap, jump and drift, become time that rises."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from agent.sources.timeline import Timeline

MS = 1_000_000
S = 1_000 * MS
WRAP = round(2**32 / 90_000 * 1e9)


def spaced(stamps: list[int | None], arrivals: list[int], paced: bool = False) -> list[int]:
    line = Timeline(paced)
    return [line.at(stamp, now) for stamp, now in zip(stamps, arrivals, strict=True)]


def gaps_ms(times: list[int]) -> list[float]:
    return [round((b - a) / MS, 1) for a, b in pairwise(times)]


def test_the_cameras_spacing_is_kept_while_arrivals_jitter() -> None:
    arrivals = [n * 40 * MS + (n % 3) * 15 * MS + 5 * S for n in range(50)]
    assert gaps_ms(spaced([n * 40 * MS for n in range(50)], arrivals)) == [40.0] * 49


def test_a_wrap_costs_one_spacing() -> None:
    stamps: list[int | None] = [(WRAP - 80 * MS + n * 40 * MS) % WRAP for n in range(10)]
    gaps = gaps_ms(spaced(stamps, [n * 40 * MS for n in range(10)]))
    assert gaps == [40.0] * 9


def test_a_clock_that_was_set_does_not_move_time() -> None:
    stamps: list[int | None] = [n * 40 * MS + (3600 * S if n >= 5 else 0) for n in range(10)]
    assert gaps_ms(spaced(stamps, [n * 40 * MS for n in range(10)])) == [40.0] * 9


def test_a_burst_at_the_beginning_does_not_lead_into_the_future() -> None:
    line = Timeline()
    times = [line.at(n * 40 * MS, 0) for n in range(25)]
    ahead = [line.at(n * 40 * MS, (n - 25) * 40 * MS) - (n - 25) * 40 * MS for n in range(25, 100)]
    assert times[-1] < 0.6 * S and ahead[-1] <= 0.14 * S


def test_a_slow_clock_is_caught_up_with() -> None:
    line = Timeline()
    behind = [n * 40 * MS - line.at(n * 39 * MS, n * 40 * MS) for n in range(20_000)]
    assert max(behind) <= 5.1 * S


def test_a_film_may_be_ahead_of_those_who_wait_for_it() -> None:
    assert gaps_ms(spaced([n * 40 * MS for n in range(100)], [0] * 100, paced=True)) == [40.0] * 99


@example([(0, 0), (9000 * MS, 0), (None, 0), (None, 0), (None, 0)])
@given(st.lists(st.tuples(st.none() | st.integers(-(2**62), 2**62), st.integers(0, S)), max_size=60))
def test_whatever_a_camera_says_time_rises(steps: list[tuple[int | None, int]]) -> None:
    line, now, times = Timeline(), 0, []
    for stamp, passed in steps:
        now += passed
        times.append(line.at(stamp, now))
    assert all(a < b for a, b in pairwise(times))
    assert all(t <= now + S * 11 for t in times)
