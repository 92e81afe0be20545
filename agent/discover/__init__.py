"""Finds cameras: on this machine by asking the kernel and libcamera, on the network by three questions to everybody.

Nothing is scanned address by address: who does not answer a question is not found.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass

log = logging.getLogger(__name__)

LIMIT_S = 2.5  # three seconds with the program's own start


@dataclass(frozen=True, slots=True)
class Found:
    """A camera. `way` is how it was found, `where` its device or address, `what` its formats or maker.

    `yaml` is a `source:` line for the configuration, with CAPITALS where something must be filled in; "" if this
    kind of camera cannot be had.
    """

    way: str
    name: str
    where: str
    what: str
    yaml: str


FINDERS = {
    "webcam": "agent.discover.v4l2",
    "libcamera": "agent.discover.picameras",
    "ssdp": "agent.discover.ssdp",
    "onvif": "agent.discover.onvif",
    "mdns": "agent.discover.mdns",
}
"""Each module has `async def find(limit_s: float) -> list[Found]`, which returns what it has when the time is over."""


async def find(limit_s: float = LIMIT_S, ways: Iterable[str] = tuple(FINDERS)) -> list[Found]:
    """All cameras that answer within `limit_s`, in the order of `ways`. Never raises for a way that fails."""
    found = await asyncio.gather(*(_find(way, limit_s) for way in ways))
    return [f for one in found for f in one]


async def _find(way: str, limit_s: float) -> list[Found]:
    finder = importlib.import_module(FINDERS[way])
    try:
        async with asyncio.timeout(limit_s + 0.5):
            found: list[Found] = await finder.find(limit_s)
            return sorted(set(found), key=lambda f: (f.where, f.name))
    except (OSError, TimeoutError) as e:
        log.info("looking for cameras by %s: %s", way, e or "no end within the time")
        return []
