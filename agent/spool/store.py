"""A camera's spool on disk: put without waiting, one writer thread, an outbox for each sink."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from agent.frame import Item, ItemType, Worth
from agent.spool.disk import Disk, Full
from agent.spool.order import Order
from agent.spool.segment import Rotten

log = logging.getLogger(__name__)

BATCH_S = 0.5
RETRY_S = 1.0
SAVE_ACKS_S = 5.0

Job = Callable[[], None]


class Spool:
    """Items of one camera, durable until every sink's other end has them.

    `durability`: item (synced at once), batch (stills at most half a second later) or none. Items wait for the
    disk in memory, at most `memory_bytes`; what does not fit is given up, counted and declared. With a
    `ledger`, a line `item CAMERA SPOOL SEQ SHA256` is written for each item when it is durable.
    """

    def __init__(
        self,
        camera: str,
        disk: Disk,
        *,
        durability: str = "item",
        ledger: Path | None = None,
        memory_bytes: int = 32 * 1024 * 1024,
    ) -> None:
        self.camera = camera
        self.disk = disk
        self.id = disk.id
        self.next_seq = disk.next_seq
        self.fresh: dict[int, Item] = {}
        self.fresh_bytes = 0
        self.dropped_items = 0
        self.rotten_items = 0
        self.write_errors = 0
        self._durability = durability
        self._ledger = open(ledger, "a", encoding="ascii") if ledger else None  # noqa: SIM115 closed in close()
        self._memory_bytes = memory_bytes
        self._outboxes: dict[str, SpoolOutbox] = {}
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[tuple[Item, Worth] | Job | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._work, name=f"spool-{camera}", daemon=True)
        self._writer.start()

    def outbox(self, sink: str) -> SpoolOutbox:
        """What this sink drains; the name must be one of those that the disk was opened with."""
        return self._outboxes.setdefault(sink, SpoolOutbox(self, sink))

    def put(self, type_: ItemType, event: int, wall_ns: int, payload: bytes, worth: Worth) -> Item:
        """Number, digest and keep the payload; never waits."""
        item = Item(self.camera, self.id, self.next_seq, type_, event, wall_ns, payload, Item.digest(payload))
        self.next_seq += 1
        if self.fresh_bytes + len(payload) > self._memory_bytes:
            self.dropped_items += 1
            self._jobs.put(lambda: self.disk.tombstone(item.seq, item.seq, "slow-disk"))
            return item
        self.fresh[item.seq] = item
        self.fresh_bytes += len(payload)
        self._jobs.put((item, worth))
        for outbox in self._outboxes.values():
            outbox.added(item.seq, worth, event)
        return item

    async def read(self, seq: int) -> Item | None:
        """The item, None when it is gone or damaged (then it is declared)."""
        if (item := self.fresh.get(seq)) is not None:
            return item
        try:
            return await asyncio.to_thread(self.disk.read, self.camera, seq)
        except Rotten as e:
            self.rotten_items += 1
            log.warning("%s: %s; it is given up", self.camera, e)
            self.give_up(seq, "corrupt")
            return None

    def give_up(self, seq: int, why: str) -> None:
        self._jobs.put(lambda: self.disk.tombstone(seq, seq, why))

    async def close(self) -> None:
        """Everything put is on disk when this returns, as far as the disk takes it."""
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        if self._ledger:
            self._ledger.close()

    # --- the writer's thread ---

    def _work(self) -> None:
        waiting: list[tuple[Item, Worth]] = []
        synced_s = saved_s = time.monotonic()
        unsynced: list[Item] = []
        ended = False
        while not ended:
            timeout = RETRY_S if waiting else BATCH_S if unsynced else SAVE_ACKS_S
            ended, items, jobs = self._collect(timeout)
            written, waiting = self._write(waiting + items)
            unsynced += written
            urgent = any(item.type is not ItemType.STILL for item in unsynced)
            now = time.monotonic()
            if unsynced and (ended or self._durability == "item" or urgent or now - synced_s >= BATCH_S):
                if self._sync(unsynced):
                    unsynced = []
                synced_s = now
            for job in jobs:
                self._attempt(job)
            if ended or now - saved_s >= SAVE_ACKS_S:
                self._attempt(self.disk.save_acks)
                saved_s = now
        self._attempt(self.disk.close)

    def _collect(self, timeout_s: float) -> tuple[bool, list[tuple[Item, Worth]], list[Job]]:
        """(ended, items, other work) of what waits in the queue, or comes within the time."""
        items: list[tuple[Item, Worth]] = []
        jobs: list[Job] = []
        try:
            got = self._jobs.get(timeout=timeout_s)
            while True:
                if got is None:
                    return True, items, jobs
                (items if isinstance(got, tuple) else jobs).append(got)  # type: ignore[arg-type]
                got = self._jobs.get_nowait()
        except queue.Empty:
            return False, items, jobs

    def _write(self, items: list[tuple[Item, Worth]]) -> tuple[list[Item], list[tuple[Item, Worth]]]:
        """(what was written, what must be tried again)."""
        written: list[Item] = []
        for i, (item, worth) in enumerate(items):
            try:
                self.disk.write(item, worth)
                written.append(item)
            except Full as e:
                log.warning("%s: %s", self.camera, e)
                self._attempt(lambda seq=item.seq: self.disk.tombstone(seq, seq, "quota"))  # type: ignore[misc]
                self._tell([item])
            except OSError as e:
                self._failed(e)
                return written, items[i:]
        return written, []

    def _sync(self, items: list[Item]) -> bool:
        try:
            if self._durability != "none":
                self.disk.sync()
        except OSError as e:
            self._failed(e)
            return False
        if self._ledger:
            lines = [f"item {i.camera} {i.spool} {i.seq} {i.sha256.hex()}\n" for i in items]
            self._ledger.write("".join(lines))
            self._ledger.flush()
        self._tell(items)
        return True

    def _attempt(self, job: Job) -> None:
        try:
            job()
        except OSError as e:
            self._failed(e)

    def _failed(self, e: OSError) -> None:
        self.write_errors += 1
        level = logging.WARNING if self.write_errors == 1 else logging.DEBUG
        log.log(level, "%s: spool %s: %s; items wait in memory", self.camera, self.disk.folder, e.strerror)

    def _tell(self, items: list[Item]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._settled, items)
        except RuntimeError:
            pass  # the loop has ended

    def _settled(self, items: list[Item]) -> None:
        """On disk, or given up: memory may forget them."""
        for item in items:
            if self.fresh.pop(item.seq, None) is not None:
                self.fresh_bytes -= len(item.payload)


class SpoolOutbox:
    """Implements `agent.outbox.Outbox` for one sink of a spool."""

    def __init__(self, spool: Spool, sink: str) -> None:
        self._spool = spool
        self._sink = sink
        self._acked = spool.disk.acked[sink]
        self._session: SpoolSession | None = None
        self._changed = asyncio.Event()
        self.refused_items = 0

    @property
    def spool(self) -> str:
        return self._spool.id

    @property
    def next_seq(self) -> int:
        return self._spool.next_seq

    def session(self) -> SpoolSession:
        """Hand out again everything that is not acknowledged; ends the session before."""
        self._session = SpoolSession(self._spool, self._acked.__contains__)
        return self._session

    def added(self, seq: int, worth: Worth, event: int) -> None:
        if self._session is not None:
            self._session.add(seq, worth, event)

    def ack(self, upto: int, have: list[tuple[int, int]] | None = None) -> None:
        top = self._spool.next_seq - 1
        with self._spool.disk.lock:
            for first, last in [(1, upto), *(have or ())]:
                self._acked.add(max(first, 1), min(last, top))
        self._changed.set()

    def refuse(self, seq: int) -> None:
        self.refused_items += 1
        self._spool.give_up(seq, "refused")
        self.ack(0, [(seq, seq)])

    def dropped(self) -> list[tuple[int, int, str]]:
        with self._spool.disk.lock:
            return [(a, b, why) for a, b, why in self._spool.disk.given_up if not self._acked.covers(a, b)]

    async def drained(self) -> None:
        """Wait until the other end has everything."""
        while not self._acked.covers(1, self._spool.next_seq - 1) and self._spool.next_seq > 1:
            self._changed.clear()
            await self._changed.wait()


class SpoolSession:
    """Implements `agent.outbox.Session`."""

    def __init__(self, spool: Spool, acked: Callable[[int], bool]) -> None:
        self._spool = spool
        self._acked = acked
        self._order = Order()
        self._added = asyncio.Event()
        on_disk = set()
        for seq, worth in spool.disk.kept():
            on_disk.add(seq)
            if not acked(seq):
                self._order.add(seq, worth)
        for item in spool.fresh.values():
            if item.seq not in on_disk and not acked(item.seq):
                self._order.add(item.seq, Worth.STILL if item.type is ItemType.STILL else Worth.HEAD, item.event)

    @property
    def urgent(self) -> bool:
        return self._order.urgent

    def add(self, seq: int, worth: Worth, event: int) -> None:
        self._order.add(seq, worth, event)
        self._added.set()

    async def take(self) -> Item:
        while True:
            found = self._order.next()
            if found is None:
                self._added.clear()
                await self._added.wait()
                continue
            seq, rank = found
            if self._acked(seq):
                continue
            item = await self._spool.read(seq)
            if item is not None:
                self._order.sent(rank, len(item.payload))
                return item
