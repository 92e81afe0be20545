"""Sees that pictures stopped coming, at no cost for those that come."""

import asyncio
from collections.abc import Callable

LOOKS = 8


async def ended_or_stalled(ended: asyncio.Future[None], count: Callable[[], int], timeout_s: float) -> bool:
    """Wait for `ended`; True when instead `count` did not change for `timeout_s` (found up to an eighth late)."""
    clock = asyncio.get_running_loop().time
    seen, since = count(), clock()
    while not ended.done():
        left = timeout_s - (clock() - since)
        await asyncio.wait([ended], timeout=max(0.0, min(timeout_s / LOOKS, left)))
        if (now := count()) != seen:
            seen, since = now, clock()
        elif clock() - since >= timeout_s and not ended.done():
            return True
    return False
