"""The ways into the server; all of them end in `Intake.take`."""

from __future__ import annotations

from contextlib import suppress

from agent.frame import Item, ItemType
from agent.server import ledger
from agent.server.archive import Archive, Outcome
from agent.server.cameras import Camera
from agent.server.catalog import Catalog
from agent.server.index import Rows, UnavailableError
from agent.server.ingest.room import Room
from agent.server.news import News

Standing = tuple[int, list[tuple[int, int]], str]
"""A spool's cumulative number and the closed ranges above it, of what is durable or declared, and the camera's id."""


class Intake:
    """Store an item and tell those who look; the one function behind every way in, which share `room` until then."""

    def __init__(self, archive: Archive, catalog: Catalog, news: News) -> None:
        self.archive = archive
        self._catalog = catalog
        self._news = news
        self.room = Room()

    async def take(self, camera: Camera, item: Item, *, verified: bool = False) -> Outcome:
        """Returns when the outcome is durable; `verified`: the digest was made here, of these very bytes."""
        outcome = await self.archive.ingest(item, camera_id=camera.id, verified=verified)
        if outcome is Outcome.TYPE:
            # It will never be taken, so that it does not come is known: the numbers have no hole there.
            try:
                await self.declare(camera, item.spool, item.seq, item.seq, "refused")
            except UnavailableError:
                return Outcome.FULL  # when it comes again
        if outcome is Outcome.STORED:
            camera.items += 1
            if item.type is ItemType.CLIP:
                camera.last_frame_ns = max(camera.last_frame_ns, item.wall_ns)
            if item.event and self._news.listeners:
                with suppress(UnavailableError):  # it is stored, whoever hears of it
                    await self._tell(item)
        return outcome

    async def declare(self, camera: Camera, spool: str, first: int, last: int, why: object) -> None:
        """As `Archive.declare`. Raises UnavailableError."""
        await self.archive.declare(camera.name, spool, first, last, why, camera_id=camera.id)

    async def standing(self, camera: str, spool: str) -> Standing | None:
        """Where the camera that has this name now stands; None when there is none.

        Asked at once: a deleted camera's id beside what a new one of its name has would bring everything back.
        """

        def query(rows: Rows) -> Standing | None:
            row = rows.cameras.get(name=camera)
            return (*ledger.acks(rows, camera, spool), row.camera_id) if row else None

        return await self.archive.index.read(query)

    async def _tell(self, item: Item) -> None:
        event = await self._catalog.event_of(item.camera, item.spool, item.event)
        if event is not None:
            self._news.tell("event", event.as_json())
