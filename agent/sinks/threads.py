"""Blocking work of sinks: in a thread, and over before the task is, as a rule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")
LEAVE_S = 0.5


async def finished(
    work: Callable[..., T], *args: Any, executor: Executor | None = None, abort: Callable[[], None] | None = None
) -> T:
    """The result of `work`. When the task is cancelled meanwhile, the work's end is waited for.

    After `abort`, where there is one, half a second: a connection that is only being made does not heed it.
    """
    future = asyncio.get_running_loop().run_in_executor(executor, work, *args)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if abort is not None:
            abort()
            await asyncio.wait({future}, timeout=LEAVE_S)
        while abort is None and not future.done():
            try:
                await asyncio.wait({future})
            except asyncio.CancelledError:
                continue
        future.add_done_callback(lambda f: f.cancelled() or f.exception())  # nobody asks for it any more
        raise
