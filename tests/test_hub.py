"""Fan-out: publishing never waits, readers lose and are counted."""

import asyncio

from agent.frame import Codec, Frame
from agent.hub import LEANING_DEPTH, Hub
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


def leaning(index: int, keyframe: bool) -> Frame:
    return Frame(Codec.H264, b"x", keyframe, index, index, index)


async def test_h264_comes_in_order_and_a_late_reader_resumes_at_a_keyframe() -> None:
    hub = Hub()
    with hub.subscribe(1) as reader:
        for i in range(50):
            hub.publish(leaning(i, i % 100 == 0))
        assert [(await reader.get()).index for _ in range(50)] == list(range(50))
        for i in range(50, LEANING_DEPTH + 60):
            hub.publish(leaning(i, i % 100 == 0))
        hub.publish(leaning(200, True))
        hub.publish(leaning(201, False))
        assert [(await reader.get()).index for _ in range(2)] == [200, 201], "whole groups are missing, no part of one"
        assert reader.dropped == LEANING_DEPTH + 10


async def test_who_comes_late_begins_with_the_keyframe_of_now() -> None:
    hub = Hub()
    for i in range(25):
        hub.publish(leaning(i, i % 10 == 0))
    with hub.subscribe() as reader:
        reader.catch_up()
        assert [(await reader.get()).index for _ in range(5)] == [20, 21, 22, 23, 24]
    with hub.subscribe() as reader:
        hub.publish(leaning(25, False))
        hub.publish(leaning(30, True))
        assert (await reader.get()).index == 30, "without its group a frame is of no use"
