"""Sees that pictures stopped coming, at no cost for those that come."""

import asyncio
from collections.abc import Callable


async def ended_or_stalled(
    ended: asyncio.Future[None], came_s: Callable[[], float], timeout_s: float, first_s: float = 0.0
) -> bool:
    """Wait for `ended`; True when instead no picture came for `timeout_s`. `came_s`: the loop's time of the last one.

    The first one from now on may take `first_s` if that is longer: a device starts.
    """
    clock = asyncio.get_running_loop().time
    begun_s = clock()
    while not ended.done():
        last_s = came_s()
        due_s = last_s + timeout_s if last_s > begun_s else begun_s + max(timeout_s, first_s)
        if (left_s := due_s - clock()) <= 0:
            return True
        await asyncio.wait([ended], timeout=left_s)
    return False
