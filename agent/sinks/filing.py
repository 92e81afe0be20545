"""The run of every sink that writes ordinary files: items in, files out, and acknowledged when they are there."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Generator

from agent.frame import ItemType
from agent.sinks import Feed
from agent.sinks.binder import Binder, File, FileRules
from agent.sinks.drain import Drain
from agent.sinks.threads import finished

log = logging.getLogger(__name__)

QUIET_S = 0.5
IDLE_S = 30.0

Put = Callable[[File], Awaitable[None]]


class Unwanted(Exception):
    """The other end will never take this file; the text says why."""


async def _nothing() -> None:
    pass


async def deliver(feed: Feed, rules: FileRules, put: Put, idle: Callable[[], Awaitable[None]] = _nothing) -> None:
    """Put one file after the other, for ever; `idle` is called when nothing happens for half a minute.

    A file's items are acknowledged after it was put: a repeat after a cut has the same name and overwrites it.
    """
    rested_s = time.monotonic()
    async with Drain(feed.outbox) as drain:
        with Binder(feed.camera, rules) as binder:
            while True:
                item = await drain.take(QUIET_S if binder.open else IDLE_S)
                _tell_losses(feed, drain)
                now_s = time.monotonic()
                files = binder.add(item, now_s) if item is not None else binder.quiet(now_s)
                slow = item is None or item.type is not ItemType.STILL
                if await _put_all(files, put, drain, slow) or item is not None:
                    rested_s = now_s
                elif now_s - rested_s >= IDLE_S - QUIET_S:
                    await idle()
                    rested_s = now_s


def _tell_losses(feed: Feed, drain: Drain) -> None:
    """The other end cannot be told what was given up: the log is, and that settles it."""
    for first, last, why in drain.losses():
        log.warning("%s: items %d to %d were given up (%s)", feed.camera, first, last, why)
        feed.outbox.ack(0, [(first, last)])


async def _put_all(files: Generator[File], put: Put, drain: Drain, slow: bool) -> int:
    """How many there were. `slow`: temporary files are read or written for them, which is done in a thread."""
    count = 0
    try:
        while (file := await finished(next, files, None) if slow else next(files, None)) is not None:
            count += 1
            await _put(file, put, drain)
    finally:
        files.close()
    return count


async def _put(file: File, put: Put, drain: Drain) -> None:
    try:
        if file.path:
            await put(file)
    except Unwanted as e:
        log.error("%s: %s; given up", file.path, e)
        for item in file.items:
            drain.refuse(item)
    else:
        for item in file.items:
            drain.done(item)
