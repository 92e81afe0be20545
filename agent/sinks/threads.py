"""Blocking work of sinks: in a thread, and over before the task is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")


async def finished(
    work: Callable[..., T], *args: Any, executor: Executor | None = None, abort: Callable[[], None] | None = None
) -> T:
    """The result of `work`. When the task is cancelled meanwhile, `abort` is called and the work's end waited for."""
    future = asyncio.get_running_loop().run_in_executor(executor, work, *args)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if abort is not None:
            abort()
        while not future.done():
            try:
                await asyncio.wait({future})
            except asyncio.CancelledError:
                continue
        if not future.cancelled():
            future.exception()  # nobody asks for it any more
        raise
