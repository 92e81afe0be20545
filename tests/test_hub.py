"""Fan-out: publishing never waits, readers lose and are counted."""

import asyncio

from agent.hub import Hub
from tests.frames import frame


async def test_the_newest_frame_wins_and_losses_are_counted() -> None:
    hub = Hub()
    with hub.subscribe() as reader:
        for i in range(5):
            hub.publish(frame(i, i))
        assert (await reader.get()).index == 4
        assert reader.dropped == 4
    assert hub.readers == 0


async def test_a_deep_reader_gets_all() -> None:
    hub = Hub()
    with hub.subscribe(10) as reader:
        for i in range(5):
            hub.publish(frame(i, i))
        assert [(await reader.get()).index for _ in range(5)] == [0, 1, 2, 3, 4]


async def test_after_a_drop_a_reader_of_dependent_frames_resumes_at_a_keyframe() -> None:
    hub = Hub()
    with hub.subscribe(2) as reader:
        for i in range(6):
            hub.publish(frame(i, i, keyframe=i in (0, 5)))
        assert (await reader.get()).index == 5
        assert reader.dropped == 5


async def test_latest_is_a_keyframe_for_who_comes_late() -> None:
    hub = Hub()
    hub.publish(frame(0, 0))
    hub.publish(frame(1, 1, keyframe=False))
    assert hub.latest is not None and hub.latest.index == 0


async def test_waiting_readers_wake() -> None:
    hub = Hub()
    with hub.subscribe() as reader:
        waiting = asyncio.ensure_future(anext(aiter(reader)))
        await asyncio.sleep(0)
        hub.publish(frame(7, 0))
        assert (await waiting).index == 7
