"""The way in for an agent in the same process: the same intake, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from agent.errors import PermanentError, TransientError
from agent.server.archive import Outcome
from agent.server.cameras import Camera, Cameras
from agent.server.ingest import Intake
from agent.sinks import Feed

LOOK_S = 1.0
DELETED = 4410


class LocalSink:
    """A sink whose other end is this process's camera server."""

    def __init__(self, store: Callable[[], tuple[Cameras, Intake]]) -> None:
        self._store = store  # asked when it runs: sinks are made before the server is started

    @property
    def label(self) -> str:
        return "the embedded server"

    async def run(self, feed: Feed) -> None:
        """Store every item and pass live frames on while somebody looks.

        Raises TransientError while the store is full.
        """
        await _Delivery(*self._store()).run(feed)


class _Delivery:
    """One run of the sink."""

    def __init__(self, cameras: Cameras, intake: Intake) -> None:
        self._cameras = cameras
        self._intake = intake

    async def run(self, feed: Feed) -> None:
        camera = await self._cameras.local(feed.camera)
        feed.up()
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        camera.command = feed.orders.ask
        self._cameras.came(camera, close := lambda code, reason: _end(ended, code))
        works: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(w)
            for w in (self._items(feed, camera), self._live(feed, camera), self._look(feed, camera))
        ]
        try:
            done, _ = await asyncio.wait({*works, ended}, return_when=asyncio.FIRST_COMPLETED)
            for work in works:
                if work in done:
                    work.result()
            if ended.result() == DELETED:
                raise _deleted(feed)
            raise TransientError("the embedded server ended the session")
        finally:
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            camera.command = None
            self._cameras.went(camera, close)

    async def _items(self, feed: Feed, camera: Camera) -> None:
        box, archive = feed.outbox, self._intake.archive
        if (standing := await self._intake.standing(feed.camera, box.spool)) is None:
            raise _deleted(feed)
        box.resume(*standing)
        session = box.session()
        await self._declare(feed, camera, box.dropped())
        while True:
            item = await session.take()
            seq = item.seq
            await self._declare(feed, camera, box.dropped())
            outcome = await self._intake.take(camera, item)
            if outcome is Outcome.GONE:
                raise _deleted(feed)
            if outcome is Outcome.FULL:
                raise TransientError(f"the store {archive.root} takes nothing now: full or not writable")
            if not outcome.settled:
                await self._intake.declare(camera, box.spool, seq, seq, "refused")
            box.ack(0, [(seq, seq)])

    async def _declare(self, feed: Feed, camera: Camera, gaps: list[tuple[int, int, str]]) -> None:
        for first, last, why in gaps:
            await self._intake.declare(camera, feed.outbox.spool, first, last, why)
        if gaps:
            feed.outbox.ack(*await self._intake.archive.acks(feed.camera, feed.outbox.spool))

    async def _live(self, feed: Feed, camera: Camera) -> None:
        while True:
            while not camera.hub.readers:
                camera.hub.changed.clear()
                await camera.hub.changed.wait()
            with feed.live.subscribe() as frames:
                frames.catch_up()
                while camera.hub.readers:
                    camera.publish(await frames.get())

    async def _look(self, feed: Feed, camera: Camera) -> None:
        """Know when the last picture came also while nobody looks."""
        while True:
            if feed.live.latest is not None:
                camera.last_frame_ns = max(camera.last_frame_ns, feed.live.latest.wall_ns)
            await asyncio.sleep(LOOK_S)


def _deleted(feed: Feed) -> PermanentError:
    return PermanentError(f"camera '{feed.camera}' was deleted on the embedded server")


def _end(ended: asyncio.Future[int], code: int) -> None:
    if not ended.done():
        ended.set_result(code)
