"""When pictures are taken to have stopped."""

from __future__ import annotations

import asyncio
import time

import pytest

from agent.sources.stall import ended_or_stalled


class Pictures:
    """When the last one came; counts how often that is asked."""

    def __init__(self) -> None:
        self.last_s = 0.0
        self.asked = 0

    def came_s(self) -> float:
        self.asked += 1
        return self.last_s

    async def come(self, times: int, every_s: float, after_s: float = 0.0) -> None:
        await asyncio.sleep(after_s)
        for _ in range(times):
            self.last_s = asyncio.get_running_loop().time()
            await asyncio.sleep(every_s)


async def test_it_is_found_when_the_time_is_over_and_hardly_looked_for_before() -> None:
    loop = asyncio.get_running_loop()
    pictures, ended = Pictures(), loop.create_future()
    coming = asyncio.create_task(pictures.come(40, 0.04))
    assert await ended_or_stalled(ended, pictures.came_s, 0.8)
    assert coming.done(), "as long as they come they are not missed"
    assert loop.time() - pictures.last_s >= 0.8
    assert pictures.asked < 10


async def test_the_first_may_take_longer() -> None:
    loop = asyncio.get_running_loop()
    pictures, begin = Pictures(), loop.time()
    assert await ended_or_stalled(loop.create_future(), pictures.came_s, 0.05, first_s=0.4)
    assert loop.time() - begin >= 0.4
    begin = pictures.last_s = loop.time() + 0.01  # one came: from then on the time is the short one
    assert await ended_or_stalled(loop.create_future(), pictures.came_s, 0.05, first_s=5)
    assert loop.time() - begin < 2


async def test_an_end_is_no_stall() -> None:
    ended = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.05, ended.set_result, None)
    assert not await ended_or_stalled(ended, Pictures().came_s, 30)


@pytest.mark.parametrize("held_s", [0.42, 0.9])
async def test_what_came_while_the_loop_did_not_run_is_no_stall(held_s: float) -> None:
    loop = asyncio.get_running_loop()
    pictures = Pictures()
    waiting = asyncio.create_task(ended_or_stalled(loop.create_future(), pictures.came_s, 0.5))
    await asyncio.sleep(0.1)
    pictures.last_s = loop.time()
    coming = loop.create_task(pictures.come(20, 0.02, after_s=0.02))  # which begins when the loop runs again
    time.sleep(held_s)
    await coming
    assert not waiting.done()
    assert await waiting
