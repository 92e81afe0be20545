"""Retries: jittered, bounded, said once; bugs leave."""

import asyncio
import logging
import random

import pytest

from agent.errors import PermanentError, TransientError
from agent.supervise import Health, backoff_s, supervise


class Stopped(Exception):
    """The fake clock has seen enough."""


class FakeClock:
    """Sleeps in no time and remembers how long it should have been."""

    def __init__(self, naps: int = 1000) -> None:
        self.slept: list[float] = []
        self.now_ns = 0
        self._naps = naps

    def wall_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_ns += round(seconds * 1e9)
        await asyncio.sleep(0)
        if len(self.slept) >= self._naps:
            raise Stopped


async def attempt(error: Exception, naps: int, health: Health | None = None, eager: bool = False) -> FakeClock:
    clock = FakeClock(naps)

    async def run() -> None:
        raise error

    with pytest.raises(Stopped):
        await supervise("porch", run, health or Health(), clock=clock, rng=random.Random(1), eager=eager)
    return clock


async def test_waits_grow_to_fifteen_seconds_with_full_jitter() -> None:
    clock = await attempt(TransientError("gone"), 400)
    assert max(clock.slept) <= 15 and max(clock.slept[50:]) > 14
    assert min(clock.slept[50:]) < 1, "full jitter reaches down to nothing"
    assert clock.slept[0] <= 0.5 and clock.slept[1] <= 1.0


async def test_what_the_other_end_asks_for_is_waited_and_is_no_hang() -> None:
    health = Health()
    clock = await attempt(TransientError("busy", 150.0), 3, health)
    assert clock.slept[:2] == [60.0, 60.0] and 30 <= clock.slept[2] <= 30.5
    assert health.progress == 3, "the failure and each full minute of waiting feed the watchdog"


async def test_a_refusal_waits_a_minute_and_is_remembered() -> None:
    health = Health()
    clock = await attempt(PermanentError("wrong password", 77), 2, health)
    assert clock.slept == [60.0, 60.0]
    assert health.refused and health.exit_code == 77 and health.error == "wrong password"


async def test_success_resets_the_wait() -> None:
    health = Health()
    for _ in range(8):
        health.failed("porch", "gone", logging.WARNING, FakeClock())
    health.worked("porch", FakeClock())
    assert health.up and health.failures == 0
    assert backoff_s(1, random.Random(2)) <= 0.5


async def test_one_warning_quiet_repeats_one_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    health = Health()
    await attempt(TransientError("gone"), 5, health)
    assert [r.levelname for r in caplog.records] == ["WARNING", "DEBUG", "DEBUG", "DEBUG", "DEBUG"]
    health.worked("porch", FakeClock())
    assert (caplog.records[-1].levelname, caplog.records[-1].getMessage()) == ("INFO", "porch: back")


def test_a_sinks_trouble_names_its_peer_once(caplog: pytest.LogCaptureFixture) -> None:
    health = Health()
    health.failed("porch → ws://nas", "ws://nas: refuses the token", logging.ERROR, FakeClock())
    assert caplog.records[-1].getMessage() == "porch → ws://nas: refuses the token"
    assert health.error == "refuses the token"
    health.failed("porch", "http://cam/video.cgi: no picture", logging.ERROR, FakeClock())
    assert health.error == "http://cam/video.cgi: no picture"


async def test_a_bug_leaves() -> None:
    async def run() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await supervise("porch", run, Health(), clock=FakeClock())


async def test_returning_ends_only_what_has_an_end() -> None:
    async def run() -> None:
        return

    await supervise("film", run, Health(), clock=FakeClock(), once=True)
    with pytest.raises(Stopped):
        await supervise("sink", run, Health(), clock=FakeClock(3))


async def test_a_camera_is_asked_each_second_at_most_in_the_first_minute_then_less_and_less() -> None:
    clock = await attempt(TransientError("gone"), 400, eager=True)
    begun, young = 0.0, []
    for slept in clock.slept:
        if begun < 60:
            young.append(slept)
        begun += slept
    assert max(young) <= 1.0 and len(young) > 60
    assert max(clock.slept[len(young) :]) > 14


async def test_a_camera_that_refuses_is_left_alone_longer_than_one_that_is_not_there() -> None:
    assert (await attempt(PermanentError("wrong password", 77), 2, eager=True)).slept == [60.0, 60.0]
    assert (await attempt(PermanentError("no such path", 66), 2, eager=True)).slept == [15.0, 15.0]


async def test_reasons_that_take_turns_are_said_once_each(caplog: pytest.LogCaptureFixture) -> None:
    health, clock = Health(), FakeClock()
    for i in range(20):
        health.failed("porch", ("refused", "no route")[i % 2], logging.WARNING, clock)
        clock.now_ns += 10**9
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.INFO] == [
        "porch: refused",
        "porch: no route",
    ]


async def test_what_comes_and_goes_is_told_of_once_a_minute_and_asked_once_a_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    health, clock = Health(), FakeClock(100)

    async def run() -> None:
        health.worked("porch", clock)
        clock.now_ns += 10**8
        raise TransientError(f"ended after {clock.now_ns} ns")

    with pytest.raises(Stopped):
        await supervise("porch", run, health, clock=clock, rng=random.Random(1), eager=True)
    minutes = clock.now_ns / 60e9
    told = [r.getMessage().split(" ")[1] for r in caplog.records]
    assert told == ["ended"] * len(told) and minutes <= len(told) <= minutes + 1, "and never said to be back"
    assert min(clock.slept) >= 0.5 and max(clock.slept) <= 1.5


async def test_what_came_and_went_and_stays_away_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    health, clock = Health(), FakeClock()
    for _ in range(3):
        health.worked("porch", clock)
        health.failed("porch", "gone", logging.WARNING, clock)
    for _ in range(100):
        clock.now_ns += 10**9
        health.failed("porch", "gone", logging.WARNING, clock)
    assert [r.getMessage() for r in caplog.records] == ["porch: gone"], "said once, and nothing since then"


async def test_what_was_said_to_be_back_and_fails_at_once_is_said_to_be_away(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a disk that is full: it is there each time, and takes nothing."""
    monkeypatch.setattr("agent.supervise.SHORT_RUN_NS", 50_000_000)
    caplog.set_level(logging.INFO)
    health, clock = Health(), FakeClock()
    health.worked("porch", clock)
    clock.now_ns += 10**10
    for _ in range(4):
        health.failed("porch", "full", logging.WARNING, clock)
        health.worked("porch", clock)
    told = ["porch: full", "porch: back", "porch: full"]
    assert [r.getMessage() for r in caplog.records] == told
    await asyncio.sleep(0.2)
    assert [r.getMessage() for r in caplog.records] == [*told, "porch: back"], "it lasted"
