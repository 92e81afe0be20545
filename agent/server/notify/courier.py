"""Brings notes from the index to the notifiers, for a day; a note is there with its event or not at all."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from agent import cloudevents
from agent.clock import Clock
from agent.errors import TransientError
from agent.frame import Item
from agent.server.catalog import Catalog
from agent.server.index import Below, Index, Rows, UnavailableError
from agent.server.index.rows import NoteRow
from agent.server.notify import Note, Notifier

log = logging.getLogger(__name__)

OLD_NS = 3600 * 10**9
GIVE_UP_NS = 86_400 * 10**9
PICTURE_NS = 2 * 10**9  # by then the event has one
FIRST_S, LONGEST_S, LOOK_S = 5, 3600, 1.0
MAX_NOTES = 10_000


def enqueue(rows: Rows, item: Item, record: dict[str, object] | None, now_ns: int) -> None:
    """In the transaction that stores an event's opening: it is to be told, if it is not an old one that came late."""
    if record is None or record.get("state") != "open" or now_ns - item.wall_ns > OLD_NS:
        return
    camera = rows.cameras.get(name=item.camera)
    if camera is None or camera.account != 1 or rows.notes.count() >= MAX_NOTES:
        return  # whoever runs the server is told of their own cameras, and never without bound
    rows.notes.add(NoteRow(item.camera, item.spool, item.event, item.wall_ns, now_ns + PICTURE_NS))


class Courier:
    """`page`: the address of the page for links in notes, "" for none."""

    def __init__(
        self, index: Index, catalog: Catalog, notifiers: Sequence[Notifier], clock: Clock, page: str = ""
    ) -> None:
        self._index = index
        self._catalog = catalog
        self._notifiers = notifiers
        self._clock = clock
        self._page = page
        self.outcomes: Counter[tuple[str, str]] = Counter()

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self.deliver()
            except (OSError, UnavailableError) as e:
                log.warning("notifications: %s", e)
            await self._clock.sleep(LOOK_S)

    async def deliver(self) -> None:
        """Try every note that is due, once."""
        due = Below(self._clock.wall_ns() + 1)
        for row in await self._index.read(lambda rows: rows.notes.find(100, due_ns=due)):
            note = await self._note(row)
            told = set(json.loads(row.told))
            left = [(n, notifier) for n, notifier in enumerate(self._notifiers) if n not in told]
            results = await asyncio.gather(*(self._try(notifier, note) for _, notifier in left))
            told |= {n for (n, _), good in zip(left, results, strict=True) if good}
            await self._settle(row, told)

    async def _try(self, notifier: Notifier, note: Note) -> bool:
        try:
            await notifier.send(note)
        except TransientError as e:
            log.warning("%s: %s", notifier.label, e)
            self.outcomes[notifier.label, "failed"] += 1
            return False
        self.outcomes[notifier.label, "sent"] += 1
        return True

    async def _settle(self, row: NoteRow, told: set[int]) -> None:
        now, tries = self._clock.wall_ns(), row.tries + 1
        done = len(told) >= len(self._notifiers) or now - row.at_ns > GIVE_UP_NS
        due = now + min(FIRST_S * 2 ** min(tries - 1, 20), LONGEST_S) * 10**9

        def run(rows: Rows) -> None:
            if done:
                rows.notes.remove(id=row.id)
            elif rows.notes.get(id=row.id) is not None:  # its camera may be erased meanwhile
                rows.notes.put(replace(row, told=json.dumps(sorted(told)), tries=tries, due_ns=due))

        await self._index.write(run)

    async def _note(self, row: NoteRow) -> Note:
        event = await self._catalog.event_of(row.camera, row.spool, row.number)
        picture = await self._catalog.thumb(event) if event else None
        when = cloudevents.rfc3339(row.at_ns)
        page = f"{self._page}/#event={event.id}" if self._page and event else self._page
        data = {"event": event.id if event else None, "peak": event.peak if event else 0.0, "page": page or None}
        id_ = f"{row.spool}-{row.number}"
        body = cloudevents.event("motion.started", row.camera, data, wall_ns=row.at_ns, id_=id_)
        text = f"Something moves at {row.camera}, {when}." + (f"\n{page}" if page else "")
        return Note(id_, f"{row.camera}: motion", text, body, picture)
