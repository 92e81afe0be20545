"""An archive with a camera and journals for it, without a server."""

from __future__ import annotations

from pathlib import Path

from agent.frame import Item
from agent.server.archive import Archive, Outcome
from agent.server.index.rows import CameraRow
from agent.server.ingest.journal import Journal
from agent.server.ingest.scribe import Scribe
from tests.server.pictures import frame, kept

RUN = "0123456789abcdef"


class Bench:
    """`refusing`: the archive takes nothing now."""

    def __init__(self, root: Path) -> None:
        self.archive = Archive(root, min_free_bytes=0)
        self.scribe = Scribe(durable=True)
        self.numbers = iter(range(1, 1000))
        self.refusing = False

    async def open(self) -> Journal:
        await self.archive.index.write(lambda rows: rows.cameras.put(CameraRow("porch", 1, "", None, None, "{}")))
        return Journal(self.archive, self.scribe, ("porch", "", RUN), self.numbers.__next__, self.hand)

    async def hand(self, item: Item) -> Outcome:
        if self.refusing:
            return Outcome.FULL
        return await self.archive.ingest(item)

    async def close(self) -> None:
        await self.scribe.close()
        await self.archive.close()

    def pictures(self) -> list[bytes]:
        return [data for _, data in sorted((e.index, data) for e, data in kept(self.archive.root / "items"))]


async def put(journal: Journal, *numbers: int) -> list[Outcome]:
    """Pictures of one event, one after the other."""
    return [await journal.put(frame(n), 1, truncated=False) for n in numbers]
