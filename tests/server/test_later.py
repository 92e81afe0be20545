"""What is put off happens once, after the last time that it was, and not at all when it was cancelled."""

from __future__ import annotations

import asyncio

from agent.server.ingest.later import Later


async def test_it_happens_once_and_not_before_it_was_put_off_to() -> None:
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    calls: list[float] = []
    later = Later(lambda: (calls.append(loop.time()), came.set())[0])
    begun_s = loop.time()
    later.put_off(0.05)
    later.put_off(0.2)
    await came.wait()
    await asyncio.sleep(0.1)
    assert len(calls) == 1 and calls[0] - begun_s >= 0.2
    came.clear()
    later.put_off(3600)
    later.put_off(0.01)  # sooner than was said before
    async with asyncio.timeout(60):
        await came.wait()


async def test_what_is_cancelled_does_not_happen_and_may_be_put_off_again() -> None:
    came = asyncio.Event()
    later = Later(came.set)
    later.put_off(0.01)
    later.cancel()
    later.cancel()
    await asyncio.sleep(0.05)
    assert not came.is_set()
    later.put_off(0.01)
    async with asyncio.timeout(60):
        await came.wait()
