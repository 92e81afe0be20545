"""Sees that pictures stopped coming, at no cost for those that come."""

import asyncio
from collections.abc import Callable

GRACE = 8  # the part of the time after which it is looked once more


async def ended_or_stalled(
    ended: asyncio.Future[None], came_s: Callable[[], float], timeout_s: float, first_s: float = 0.0
) -> bool:
    """Wait for `ended`; True when instead no picture came for `timeout_s` and an eighth of it.

    `came_s`: the loop's time of the last one. The first one from now on may take `first_s` if that is longer: a device
    starts. When the time is over, what came while the loop did not run has the eighth to be taken, and once more where
    the loop did not run in that either.
    """
    clock = asyncio.get_running_loop().time
    begun_s = clock()
    while not ended.done():
        last_s, now_s = came_s(), clock()
        left_s = (last_s + timeout_s if last_s > begun_s else begun_s + max(timeout_s, first_s)) - now_s
        grace_s = timeout_s / GRACE
        await asyncio.wait([ended], timeout=left_s if left_s > 0 else grace_s)
        if left_s <= 0 and came_s() == last_s and clock() - now_s < 2 * grace_s:
            return not ended.done()
    return False
