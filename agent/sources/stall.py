"""Sees that pictures stopped coming, at no cost for those that come."""

import asyncio
from collections.abc import Callable

LOOKS = 8


async def ended_or_stalled(
    ended: asyncio.Future[None], count: Callable[[], int], timeout_s: float, first_s: float = 0.0
) -> bool:
    """Wait for `ended`; True when instead `count` did not change for `timeout_s` (found up to an eighth late).

    The first change may take `first_s` if that is longer: a device starts.
    """
    clock = asyncio.get_running_loop().time
    begin = seen = count()
    since, limit = clock(), max(timeout_s, first_s)
    while not ended.done():
        left = limit - (clock() - since)
        await asyncio.wait([ended], timeout=max(0.0, min(timeout_s / LOOKS, left)))
        if (now := count()) != seen:
            seen, since = now, clock()
            limit = timeout_s if seen != begin else limit
        elif clock() - since >= limit and not ended.done():
            return True
    return False
