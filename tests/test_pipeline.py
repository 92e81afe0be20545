"""One camera wired: what happens at the ends of runs and of the program."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Callable

import pytest

from agent.errors import TransientError
from agent.frame import Decision, Frame, ItemType
from agent.judge import Analyse, Verdict
from agent.pipeline import Pipeline
from agent.sinks import Feed
from agent.sources import Publish
from tests.frames import SECOND, frame

MOVING = Decision(True, 0.1, reason="motion")


class Ticking:
    """A camera with a picture each 10 ms."""

    label = "ticking"

    async def run(self, publish: Publish) -> None:
        loop, begin, index = asyncio.get_running_loop(), 0.0, 0
        begin = loop.time()
        while True:
            publish(frame(index, loop.time() - begin))
            index += 1
            await asyncio.sleep(0.01)


class Silent:
    """A server that takes what comes and acknowledges nothing."""

    label = "silent"

    def __init__(self) -> None:
        self.records: list[dict[str, object]] = []

    async def run(self, feed: Feed) -> None:
        feed.up()
        session = feed.outbox.session()
        while True:
            item = await session.take()
            if item.type is ItemType.EVENT:
                self.records.append(json.loads(item.payload))


async def test_while_the_end_waits_for_a_slow_sink_no_new_event_begins() -> None:
    sink = Silent()
    pipeline = Pipeline("porch", Ticking(), [sink], analyse=lambda f: MOVING, analyses_per_s=60.0)
    run = asyncio.create_task(pipeline.run())
    while not pipeline.recorder.event:
        await asyncio.sleep(0.01)
    frames = pipeline.counters.frames
    await pipeline.stop()
    assert pipeline.counters.frames > frames, "it waited while pictures came"
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert [(r["state"], r.get("why")) for r in sink.records] == [("open", None), ("closed", "stop")]


class Flapping:
    """A camera that goes away once its first run is being looked at, and then stands still."""

    label = "flapping"

    def __init__(self, looked_at: threading.Event) -> None:
        self._looked_at = looked_at
        self.back = asyncio.Event()

    async def run(self, publish: Publish) -> None:
        again = self._looked_at.is_set()
        for i in range(5):
            publish(frame(i, again + i / 10))
        if not again:
            await asyncio.to_thread(self._looked_at.wait, 10)
            raise TransientError("gone")
        self.back.set()
        await asyncio.Event().wait()


async def test_a_verdict_that_comes_after_its_run_opens_nothing_in_the_next() -> None:
    go, looked_at = threading.Event(), threading.Event()

    def slow(f: Frame) -> Decision:
        looked_at.set()
        go.wait(10)
        return MOVING if f.pts_ns < SECOND else Decision(False)

    source = Flapping(looked_at)
    pipeline = Pipeline("porch", source, [Silent()], analyse=slow)
    run = asyncio.create_task(pipeline.run())
    await source.back.wait()
    go.set()
    while pipeline.counters.moving == 0:
        await asyncio.sleep(0.01)
        pipeline._hear()
    assert pipeline.counters.events == 0
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


async def test_the_rate_is_that_of_the_camera_however_its_pictures_arrive() -> None:
    async def rate(times: list[float]) -> float:
        class Played:
            label = "played"

            async def run(self, publish: Publish) -> None:
                for i, at_s in enumerate(times):
                    publish(frame(i, at_s))

        pipeline = Pipeline("porch", Played(), [], analyse=None)
        await pipeline.run()
        return pipeline.fps

    assert await rate([0.0]) == 0
    assert await rate([i / 10 for i in range(5)]) == pytest.approx(10)
    assert await rate([i // 2 / 5 + i % 2 / 100_000 for i in range(100)]) == pytest.approx(10, rel=0.1)


class AtOnce:
    """A judge that is never late: a row that is complete is looked at where it stands."""

    def __init__(
        self,
        name: str,
        analyse: Analyse,
        presses: Callable[[Decision], bool],
        urgent: Callable[[], None],
        burst_s: float,
    ) -> None:
        self._analyse, self._presses, self._urgent = analyse, presses, urgent
        self._waiting: list[Frame] = []
        self._found: list[Verdict] = []
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def offer(self, frame: Frame, together: int = 1) -> None:
        self._waiting.append(frame)
        if len(self._waiting) < together:
            return
        for one in self._waiting:
            verdict = self._analyse(one)
            self._found.append((one, verdict))
            if self._presses(verdict):
                self._urgent()
        self._waiting.clear()

    def verdicts(self) -> list[Verdict]:
        found, self._found = self._found, []
        return found

    def forget(self) -> None:
        self._waiting.clear()

    def close(self) -> None:
        self.forget()


async def test_an_event_that_lasts_anyhow_is_looked_at_half_as_often_but_not_towards_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The detector may not lose what it follows, and an event ends where one that is always looked at would."""
    looks: list[int] = []  # tenths of a second

    class Played:
        label = "played"

        async def run(self, publish: Publish) -> None:
            for i in range(300):
                publish(frame(i, i / 10))
                await asyncio.sleep(0)

    def analyse(picture: Frame) -> Decision:
        looks.append(picture.index)
        return MOVING if 50 <= picture.index <= 200 else Decision(False)

    monkeypatch.setattr("agent.pipeline.Judge", AtOnce)
    sink = Silent()
    pipeline = Pipeline("porch", Played(), [sink], analyse=analyse)
    run = asyncio.create_task(pipeline.run())
    await pipeline.ended.wait()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    gaps = {a: b - a for a, b in itertools.pairwise(looks)}
    assert {gap for at, gap in gaps.items() if at < 48} == {2}
    assert {gap for at, gap in gaps.items() if 60 <= at < 200} == {4}
    assert {gap for at, gap in gaps.items() if at >= 232} == {2}, "two seconds before its end all is as before it"
    [closed] = [r for r in sink.records if r["state"] == "closed"]
    assert (closed["why"], closed["end_ns"]) == ("quiet", frame(250, 25.0).wall_ns)


async def test_a_source_may_keep_frames_back_only_while_nobody_wants_them() -> None:
    told: list[int] = []
    go = asyncio.Event()

    class Asking:
        label = "asking"

        async def run(self, publish: Publish) -> None:
            for i in range(100):
                told.append(publish(frame(i, i / 10)) or 0)
                await asyncio.sleep(0.002)
            await go.wait()
            told.append(publish(frame(100, 10.0)) or 0)

    def moving(f: Frame) -> Decision:
        return MOVING if 2 * SECOND < f.pts_ns < 3 * SECOND else Decision(False)

    pipeline = Pipeline("porch", Asking(), [], analyse=moving)
    run = asyncio.create_task(pipeline.run())
    while len(told) < 100:
        await asyncio.sleep(0.01)
    with pipeline.hub.subscribe():
        go.set()
        await run
    assert all(0 < t - i * SECOND // 10 <= SECOND // 5 for i, t in enumerate(told[:20])), "until the next look"
    begun = told.index(0)
    assert 20 <= begun < 25 and not any(told[begun : begun + 15]), (
        "clips of a young event are short: they leave at once"
    )
    assert all(told[45:60]), "and not those of an older one"
    assert told[100] == 0, "somebody watches"
