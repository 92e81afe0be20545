"""The judge's thread: the newest frame wins, verdicts come in order, a bug is told, nothing is left behind."""

import asyncio
import threading
import time

import pytest

from agent.frame import Codec, Decision, Frame
from agent.judge import Judge


def frame(index: int) -> Frame:
    return Frame(Codec.JPEG, b"", True, index, index, index)


class Analyst:
    """Looks at a frame when it is let to; odd frames move."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.may = threading.Semaphore(0)
        self.seen: list[int] = []

    def __call__(self, one: Frame) -> Decision:
        self.began.release()
        self.may.acquire()
        self.seen.append(one.index)
        return Decision(moving=one.index % 2 == 1)


async def until(condition: object) -> None:
    async with asyncio.timeout(60):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


async def test_the_newest_frame_is_looked_at_and_those_between_never_are() -> None:
    analyst = Analyst()
    judge = Judge("porch", analyst, lambda d: False, lambda: None)
    judge.offer(frame(0))
    await asyncio.to_thread(analyst.began.acquire)
    for index in (1, 2, 3):
        judge.offer(frame(index))
    analyst.may.release(2)
    found = []
    await until(lambda: found.extend(judge.verdicts()) or len(found) == 2)
    assert [(f.index, d.moving) for f, d in found] == [(0, False), (3, True)]
    judge.close()


async def test_frames_of_a_burst_are_all_looked_at_and_what_comes_later_takes_the_place_of_what_waits() -> None:
    analyst, found = Analyst(), []
    judge = Judge("porch", analyst, lambda d: False, lambda: None, burst_s=0.05)
    judge.offer(frame(0))
    await asyncio.to_thread(analyst.began.acquire)
    for index in range(1, 60):
        judge.offer(frame(index))
    analyst.may.release(20)
    await until(lambda: found.extend(judge.verdicts()) or len(found) == 17)
    assert [f.index for f, _ in found] == [0, *range(44, 60)], "a burst without end does not grow"
    while analyst.began.acquire(blocking=False):
        pass
    while analyst.may.acquire(blocking=False):
        pass
    for index in (100, 101, 102):
        await asyncio.sleep(0.1)
        judge.offer(frame(index))
        if index == 100:
            await asyncio.to_thread(analyst.began.acquire)
    analyst.may.release(20)
    await until(lambda: found.extend(judge.verdicts()) or len(found) == 19)
    assert [f.index for f, _ in found[17:]] == [100, 102]
    judge.close()


async def test_frames_that_may_wait_are_looked_at_together_and_none_is_left_out() -> None:
    analyst, found = Analyst(), []
    analyst.may.release(20)
    judge = Judge("porch", analyst, lambda d: False, lambda: None)
    for index in range(4):
        judge.offer(frame(index), together=5)
    await asyncio.sleep(0.05)
    assert analyst.seen == []
    judge.offer(frame(4), together=5)
    await until(lambda: found.extend(judge.verdicts()) or len(found) == 5)
    judge.offer(frame(5), together=5)
    judge.offer(frame(6))
    await until(lambda: found.extend(judge.verdicts()) or len(found) == 7)
    assert [f.index for f, _ in found] == [0, 1, 2, 3, 4, 5, 6], "in order, also when it suddenly matters"
    judge.close()


async def test_however_late_the_thread_is_no_more_wait_than_are_looked_at_together() -> None:
    analyst = Analyst()
    judge = Judge("porch", analyst, lambda d: False, lambda: None)
    judge.offer(frame(0))
    await asyncio.to_thread(analyst.began.acquire)
    for index in range(1, 100):
        judge.offer(frame(index), together=3)
    analyst.may.release(100)
    await until(lambda: len(analyst.seen) == 4)
    assert analyst.seen == [0, 97, 98, 99]
    judge.close()


async def test_only_what_presses_wakes_the_loop() -> None:
    analyst, woken = Analyst(), []
    analyst.may.release(10)
    judge = Judge("porch", analyst, lambda d: d.moving, lambda: woken.append(judge.verdicts()))
    judge.offer(frame(0))
    await until(lambda: analyst.seen == [0])
    judge.offer(frame(1))
    await until(lambda: woken)
    assert [f.index for f, _ in woken[0]] == [0, 1], "what waited comes with it, in order"
    judge.close()


async def test_a_picture_that_does_not_decode_is_a_verdict_and_the_next_is_looked_at() -> None:
    def analyse(one: Frame) -> Decision:
        if one.index == 0:
            raise ValueError("no JPEG")
        return Decision(moving=False)

    judge = Judge("porch", analyse, lambda d: False, lambda: None)
    found = []
    judge.offer(frame(0))
    await until(lambda: found.extend(judge.verdicts()) or found)
    judge.offer(frame(1))
    await until(lambda: found.extend(judge.verdicts()) or len(found) == 2)
    assert isinstance(found[0][1], ValueError) and isinstance(found[1][1], Decision)
    judge.close()


async def test_a_bug_comes_out_and_the_thread_is_gone() -> None:
    def analyse(_: Frame) -> Decision:
        raise ZeroDivisionError("a bug")

    judge = Judge("porch", analyse, lambda d: False, lambda: None)
    judge.offer(frame(0))
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(60):
            await judge.failed
    judge.close()
    assert "motion-porch" not in {t.name for t in threading.enumerate()}


async def test_a_frame_that_is_called_back_is_not_looked_at() -> None:
    analyst = Analyst()
    judge = Judge("porch", analyst, lambda d: False, lambda: None)
    judge.offer(frame(0))
    await asyncio.to_thread(analyst.began.acquire)
    judge.offer(frame(1))
    judge.forget()
    analyst.may.release(5)
    judge.close()
    assert analyst.seen == [0]
    assert "motion-porch" not in {t.name for t in threading.enumerate()}


async def test_short_looks_are_the_loops_and_long_ones_the_threads() -> None:
    lasts_s = 0.0
    where: list[str] = []

    def analyse(_: Frame) -> Decision:
        time.sleep(lasts_s)
        where.append(threading.current_thread().name)
        return Decision(moving=False)

    judge = Judge("porch", analyse, lambda d: False, lambda: None)
    here = threading.current_thread().name
    index = 0

    async def looks(where_at_last: str) -> None:
        nonlocal index
        async with asyncio.timeout(60):
            while where[-1:] != [where_at_last]:
                judge.offer(frame(index))
                index += 1
                await asyncio.sleep(0.001)
                assert not judge.failed.done()

    await looks("motion-porch")
    await looks(here)
    lasts_s = 0.1
    await looks("motion-porch")
    lasts_s = 0.0
    await looks(here)
    judge.close()


async def test_the_loop_does_not_look_while_the_thread_does() -> None:
    analyst = Analyst()
    judge = Judge("porch", analyst, lambda d: False, lambda: None)
    judge.offer(frame(0))
    await asyncio.to_thread(analyst.began.acquire)
    judge._look_s = 0.0  # as if looks were short
    judge.offer(frame(1))
    await asyncio.sleep(0.02)
    assert not analyst.began.acquire(blocking=False)
    analyst.may.release(2)
    await until(lambda: analyst.seen == [0, 1])
    judge.close()


async def test_a_bug_in_a_short_look_comes_out_too() -> None:
    def analyse(one: Frame) -> Decision:
        if one.index == 99:
            raise ZeroDivisionError("a bug")
        return Decision(moving=threading.current_thread() is threading.main_thread())

    judge = Judge("porch", analyse, lambda d: False, lambda: None)
    found: list[tuple[Frame, Decision | ValueError]] = []
    async with asyncio.timeout(60):
        while not (found and isinstance(found[-1][1], Decision) and found[-1][1].moving):
            judge.offer(frame(0))
            await asyncio.sleep(0.001)
            found.extend(judge.verdicts())
    judge.offer(frame(99))
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(60):
            await judge.failed
    judge.close()
