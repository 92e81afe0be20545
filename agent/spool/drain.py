"""One sink's view of a spool: what its other end has, what waits, what was given up."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from agent.frame import Item, Worth
from agent.spool.acks import FORMER
from agent.spool.line import Backlog, Line
from agent.spool.ranges import Ranges
from agent.spool.tombstones import NOT_OURS

if TYPE_CHECKING:
    from agent.spool.store import Spool

log = logging.getLogger(__name__)


class SpoolOutbox:
    """Implements `agent.outbox.Outbox`."""

    def __init__(self, spool: Spool, sink: str) -> None:
        self._spool = spool
        self._sink = sink
        self._line: Callable[[], Line | None] = lambda: None  # while its session lasts
        self._changed = asyncio.Event()
        self._refused: dict[str, int] = {}  # why: how many
        self._first = spool.next_seq  # of this life of the agent
        self._handed = Ranges()
        self._told = Ranges()  # what the other end has, without what a former camera had
        self.progress = 0
        self._foreign = Ranges()  # numbers of ours under which the other end has something that we did not send
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def _acked(self) -> Ranges:
        return self._spool.disk.acked[self._sink]

    @property
    def spool(self) -> str:
        return self._spool.id

    @property
    def next_seq(self) -> int:
        return self._spool.next_seq

    @property
    def idle(self) -> bool:
        return not self._holes()

    def session(self) -> Line:
        line = Line(self._hand, self._over)
        self._line = weakref.ref(line)
        fresh = list(self._spool.fresh.items())  # before the disk is asked: what the writer takes over now is in both
        on_disk = set()
        for seq, worth in self._spool.disk.shelf.kept():
            on_disk.add(seq)
            self._queue(line, seq, worth)
        for seq, (_, worth) in fresh:
            if seq not in on_disk and seq <= self._spool.disk.mark:
                self._queue(line, seq, worth)
        return line

    async def _hand(self, seq: int) -> Item | None:
        self._handed.add(seq, seq)
        return await self._spool.read(seq)

    def _queue(self, line: Line, seq: int, worth: Worth) -> None:
        if not self._over(seq):
            line.add(seq, worth, self._spool.event if seq >= self._spool.running_from else 0)

    def _over(self, seq: int) -> bool:
        """Nothing is left to do for this number here."""
        return seq in self._acked or seq in self._spool.disk.tombstones.numbers

    def added(self, seq: int, worth: Worth, event: int) -> None:
        """A new item."""
        if (line := self._line()) is not None:
            line.add(seq, worth, event)

    def ack(self, upto: int, have: Iterable[tuple[int, int]] = ()) -> None:
        with self._spool.disk.lock:
            self._take(self._acked, upto, have)
            self._take(self._told, upto, have)
        self.progress += 1
        self.changed()

    def resume(self, upto: int, have: Iterable[tuple[int, int]] = (), camera_id: str = "") -> None:
        known = Ranges()
        self._foreign = Ranges()
        self._take(known, upto, have)
        # What never left here and is there all the same came from a copy of this spool: it is sent, and refused.
        foreign = [s for s in self._spool.numbers(self._first) if s in known and s not in self._handed]
        self._foreign = Ranges((s, s) for s in foreign)
        told = Ranges()
        self._take(told, upto, have)
        with self._spool.disk.lock:
            another = self._spool.disk.acks.resume(self._sink, told, camera_id)
            self._told = told
        if another:
            text = "%s → %s: a new camera of this name; what was delivered to the former one is not sent again"
            log.info(text, self._spool.camera, self._sink)
        self._spool.resumed(self._sink)
        self.changed()

    def _take(self, ranges: Ranges, upto: int, have: Iterable[tuple[int, int]]) -> None:
        top = self._spool.next_seq - 1
        told = [(max(first, 1), min(last, top)) for first, last in ((1, upto), *have)]
        ranges.update(span for first, last in told for span in self._foreign.holes(first, last))

    def refuse(self, seq: int, why: str = "refused") -> None:
        self._refused[why] = self._refused.get(why, 0) + 1
        if why != "conflict":
            self.ack(0, [(seq, seq)])
            return
        task = asyncio.create_task(self._move(seq))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _move(self, seq: int) -> None:
        """Only when the item is safe under its new number is it over with the old one."""
        await self._spool.renumber(seq)
        with self._spool.disk.lock:
            self._acked.add(seq, seq)
        self.changed()

    def changed(self) -> None:
        """Whoever waits until everything is delivered looks again."""
        self._changed.set()

    def dropped(self) -> list[tuple[int, int, str]]:
        disk = self._spool.disk
        with disk.lock:
            gone, acked = disk.tombstones.all, self._acked
            settled = Ranges([*self._told.all(), *((a, b) for a, b, why in gone if why == NOT_OURS)])
            former = [hole for span in disk.acks.peer(self._sink).former.all() for hole in settled.holes(*span)]
            missing = [(a, b, why) for a, b, why in gone if why != NOT_OURS and not acked.covers(a, b)]
        return missing + [(a, b, FORMER) for a, b in former]

    def backlog(self) -> Backlog:
        spool = self._spool
        fresh = {seq: item for seq, (item, _) in spool.fresh.items() if not self._over(seq)}
        waiting = {seq: size for seq, size in spool.disk.shelf.sizes() if not self._over(seq)}
        waiting |= {seq: len(item.payload) for seq, item in fresh.items()}
        oldest = min(waiting, default=None)
        wall_ns = None
        if oldest is not None:
            wall_ns = fresh[oldest].wall_ns if oldest in fresh else spool.disk.shelf.wall_ns(oldest)
        missing = dict(self._refused)
        for first, last, why in spool.disk.tombstones.all:
            if why != NOT_OURS:
                missing[why] = missing.get(why, 0) + last - first + 1
        upto = oldest - 1 if oldest is not None else spool.next_seq - 1
        return Backlog(spool.id, spool.next_seq, upto, missing, len(waiting), sum(waiting.values()), wall_ns)

    async def drained(self) -> None:
        while self._holes():
            self._changed.clear()
            await self._changed.wait()

    def _holes(self) -> list[tuple[int, int]]:
        with self._spool.disk.lock:
            known = Ranges([*self._acked.all(), *self._spool.disk.tombstones.numbers.all()])
        return known.holes(1, self._spool.next_seq - 1)
