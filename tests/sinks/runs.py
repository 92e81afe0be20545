"""A sink running in the test: what it was given, and how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agent.hub import Hub
from agent.outbox import MemoryOutbox
from agent.sinks import Feed, Sink


class Run:
    """One run of a sink; `again` starts the next one after it ended."""

    def __init__(self, sink: Sink, outbox: MemoryOutbox) -> None:
        self.sink = sink
        self.outbox = outbox
        self.up = asyncio.Event()
        self.feed = Feed(outbox.camera, outbox, Hub(), self.up.set)
        self.task = asyncio.ensure_future(sink.run(self.feed))

    async def drained(self, timeout_s: float = 30) -> None:
        """Everything was taken; raises what the sink ended with before."""
        waiting = asyncio.ensure_future(self.outbox.drained())
        try:
            await asyncio.wait({waiting, self.task}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if self.task.done():
                self.task.result()
            assert waiting.done(), f"{len(self.outbox)} items still wait"
        finally:
            waiting.cancel()

    async def ended(self, timeout_s: float = 30) -> BaseException:
        """What the run ended with."""
        await asyncio.wait({self.task}, timeout=timeout_s)
        assert self.task.done(), "it still runs"
        error = self.task.exception()
        assert error is not None, "it returned"
        return error

    async def again(self) -> None:
        await self.close()
        self.up.clear()
        self.task = asyncio.ensure_future(self.sink.run(self.feed))

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def running(sink: Sink, outbox: MemoryOutbox) -> AsyncIterator[Run]:
    run = Run(sink, outbox)
    try:
        yield run
    finally:
        await run.close()
