"""When frames are looked at."""

from __future__ import annotations

from itertools import pairwise

from agent.motion.looks import CALM_NS, SETTLED_NS, Looks

MS = 1_000_000


def times(looks: Looks, until_ms: int, every_ms: int = 100, stirs: tuple[int, ...] = (), from_ms: int = 0) -> list[int]:
    """Milliseconds at which a camera's frames are looked at; something differs in the frames of `stirs`."""
    found = []
    for ms in range(from_ms, until_ms, every_ms):
        if looks.due(ms * MS):
            found.append(ms)
            looks.found(ms * MS, calm=ms not in stirs)
    return found


def gaps(found: list[int]) -> set[int]:
    return {b - a for a, b in pairwise(found)}


def test_a_scene_in_which_nothing_differs_is_looked_at_half_as_often() -> None:
    found = times(Looks(5), 20_000)
    calm_ms = CALM_NS // MS
    assert gaps([ms for ms in found if ms <= calm_ms]) == {200}
    assert gaps([ms for ms in found if ms > calm_ms]) == {400}


def test_what_differs_in_a_calm_scene_is_looked_at_again_at_once_and_from_then_on_as_ever() -> None:
    looks = Looks(5)
    first = times(looks, 10_000)[-1] + 400
    found = times(looks, 16_000, from_ms=first, stirs=tuple(range(first, 12_000, 100)))
    assert found[:4] == [first, first + 100, first + 300, first + 500]
    assert gaps([ms for ms in found if first < ms < 12_000 + CALM_NS // MS]) == {200}


def test_looks_are_never_farther_apart_than_a_detector_can_follow() -> None:
    assert max(gaps(times(Looks(3), 30_000, every_ms=20))) <= 420
    assert gaps(times(Looks(1), 30_000)) == {1000}, "not more often than people set, either"


def test_a_new_run_is_looked_at_from_its_first_frame_and_in_full() -> None:
    looks = Looks(5)
    times(looks, 20_000)
    looks.begin(20_050 * MS)
    assert gaps(found := times(looks, 24_000, from_ms=20_050)) == {200} and found[0] == 20_050


def test_every_frame_is_looked_at_where_there_is_no_limit() -> None:
    assert times(Looks(None), 20_000) == list(range(0, 20_000, 100))


def test_jitter_does_not_choose_the_frame_behind_the_one_that_is_due() -> None:
    looks = Looks(5)
    early = [i * 100 - 20 * (i % 2) - 10 for i in range(1, 50)]
    assert looks.due(0) and [ms for ms in early if looks.due(ms * MS)] == [ms for ms in early if (ms + 10) % 200 == 0]


def test_no_frame_is_looked_at_before_it_says_so() -> None:
    for per_s, stirs in ((5, True), (5, False), (1, True), (15, True)):
        looks = Looks(per_s)
        until_ns = waited = 0
        for ms in range(0, 20_000, 20):
            looked = looks.due(ms * MS)
            assert not (looked and ms * MS < until_ns)
            waited += ms * MS < until_ns
            until_ns = looks.unwanted_until_ns(ms * MS)
            if looked:
                looks.found(ms * MS, calm=not stirs)
        assert waited > 20_000 / 20 / 2, "most of fifty pictures a second are not looked at"


def test_a_settled_event_waits_for_no_look() -> None:
    looks = Looks(5)
    looks.due(0)
    assert looks.unwanted_until_ns(100 * MS) < 200 * MS
    assert looks.unwanted_until_ns(100 * MS, SETTLED_NS) == 500 * MS
