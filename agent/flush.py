"""Deliver what stopped agents left in their spools, without any camera."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from agent.app import MIB, AgentConfig
from agent.clock import SystemClock
from agent.hub import Hub
from agent.outbox import Outbox
from agent.pipeline import way_keys
from agent.sinks import Feed, Sink
from agent.spool.line import Backlog
from agent.spool.settings import SpoolSettings
from agent.spool.store import Spool
from agent.supervise import Health, supervise


@dataclass(frozen=True, slots=True)
class Left:
    """Where one camera's sink stands afterwards; `why` it is away, "" for not."""

    camera: str
    sink: str
    before: int
    backlog: Backlog
    why: str


async def flush(config: AgentConfig, limit_s: float) -> list[Left]:
    """Run every sink until nothing waits, for at most `limit_s`. Raises UsageError when an agent has a spool."""
    settings = config.spool or SpoolSettings()
    names = [c.name for c in config.cameras if (settings.root / c.name / "spool.json").exists()]
    keys = way_keys(list(config.sinks))
    found: list[Left] = []
    for name in names:
        spool = settings.open(name, keys, len(config.cameras), config.outbox_mib * MIB)
        try:
            ways = zip(config.sinks, keys, strict=True)
            found += await asyncio.gather(*(_drain(spool, sink, key, limit_s) for sink, key in ways))
        finally:
            await spool.close()
    return found


async def _drain(spool: Spool, sink: Sink, key: str, limit_s: float) -> Left:
    outbox, health = spool.outbox(key), Health()
    before = outbox.backlog().waiting_items
    name = f"{spool.camera} → {sink.label}"
    feed = Feed(spool.camera, outbox, Hub(), lambda: health.worked(name, SystemClock()))
    work = asyncio.create_task(supervise(name, lambda: sink.run(feed), health))
    emptied = asyncio.create_task(_emptied(outbox, health))
    try:
        await asyncio.wait({work, emptied}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        for task in (work, emptied):
            task.cancel()
        await asyncio.gather(work, emptied, return_exceptions=True)
    return Left(spool.camera, sink.label, before, outbox.backlog(), health.error)


async def _emptied(outbox: Outbox, health: Health) -> None:
    """The other end was asked at least once: it may have lost what it had, and be sent it again."""
    while not health.up and not health.refused:
        await asyncio.sleep(0.05)
    if health.up:
        await outbox.drained()
