"""A camera's spool on disk: put without waiting, one writer thread, an outbox for each sink."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from agent.errors import UsageError
from agent.frame import Item, ItemType, Worth
from agent.spool.disk import Disk, Full
from agent.spool.drain import SpoolOutbox
from agent.spool.segment import Rotten
from agent.spool.tombstones import NOT_OURS

log = logging.getLogger(__name__)

BATCH_S = 0.5
RETRY_S = 1.0
SAVE_ACKS_S = 5.0
CLOSE_S = 5.0

Job = Callable[[], None]


class Spool:
    """Items of one camera, durable until every sink's other end has them.

    `durability`: item (synced at once), batch (items outside events at most half a second later) or none.
    Items wait for the disk in memory, at most `memory_bytes`, and leave from there too when the disk is sick; what
    does not fit is given up, counted and declared. With a `ledger`, a line `item CAMERA SPOOL SEQ SHA256` is
    appended for each item when it is durable, and `dropped CAMERA SPOOL FIRST LAST WHY` for what is given up.
    """

    def __init__(
        self,
        camera: str,
        disk: Disk,
        *,
        durability: str = "batch",
        ledger: Path | None = None,
        memory_bytes: int = 32 * 1024 * 1024,
    ) -> None:
        self.camera = camera
        self.disk = disk
        self.id = disk.id
        self.next_seq = disk.next_seq
        self._fresh: dict[int, tuple[Item, Worth]] = {}
        self._fresh_bytes = 0
        self._kept: deque[int] = deque()  # of these: what the writer has seen to
        self.running_from = self.next_seq  # first number of the newest event
        self._own_from = 0  # numbers from here on are ours alone, as far as is known
        self.dropped_items = 0
        self.rotten_items = 0
        self.write_errors = 0
        self.error = ""
        self._durability = durability
        self._memory_bytes = memory_bytes
        self.event = 0
        self._outboxes = {sink: SpoolOutbox(self, sink) for sink in disk.acked}
        self._unannounced: deque[tuple[Item, Worth]] = deque()
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[tuple[Item, Worth] | Job | None] = queue.SimpleQueue()
        try:
            self._ledger = open(ledger, "a", encoding="ascii") if ledger else None  # noqa: SIM115 until close()
        except OSError as e:
            raise UsageError(f"ledger {ledger}: {e.strerror}", 73) from None
        disk.on_gone = self._gone
        if disk.copied:
            log.error("%s: spool %s is a copy of another one; its numbers leap to %d", camera, self.id, self.next_seq)
        self._broken: asyncio.Future[None] = self._loop.create_future()
        self._writer = threading.Thread(target=self._work, name=f"spool-{camera}", daemon=True)
        self._writer.start()

    def outbox(self, sink: str) -> SpoolOutbox:
        """What this sink drains; the name must be one of those that the disk was opened with."""
        return self._outboxes[sink]

    @property
    def fresh(self) -> dict[int, tuple[Item, Worth]]:
        """What is not on disk yet; for the loop, which is not woken to forget what is."""
        while self._kept:
            if found := self._fresh.pop(self._kept.popleft(), None):
                self._fresh_bytes -= len(found[0].payload)
        return self._fresh

    @property
    def fresh_bytes(self) -> int:
        """Of payload, in `fresh`."""
        return self._fresh_bytes if self.fresh else 0

    @property
    def upkeep(self) -> int | None:
        """Changes whenever the disk takes an item or refuses one; None while none waits for it."""
        oldest = next(iter(self.fresh), None)
        return None if oldest is None else oldest + self.write_errors

    async def run(self) -> None:
        """Until it is cancelled; raises what ended the writer's thread: a bug, after which nothing is kept."""
        await asyncio.shield(self._broken)

    @property
    def held(self) -> tuple[int, int]:
        """Bytes of disk that the spool takes, delivered items included, and how many it may."""
        return self.disk.held, self.disk.room.max_bytes

    def put(self, type_: ItemType, event: int, wall_ns: int, payload: bytes, worth: Worth) -> Item:
        """Number, digest and keep the payload; never waits."""
        item = Item(self.camera, self.id, self.next_seq, type_, event, wall_ns, payload, Item.digest(payload))
        self.next_seq += 1
        if event and event != self.event:
            self.event, self.running_from = event, item.seq
        if self.fresh_bytes + len(payload) > self._memory_bytes:
            self.dropped_items += 1
            self.give_up(item.seq, "slow-disk")
            return item
        self._fresh[item.seq] = item, worth
        self._fresh_bytes += len(payload)
        self._jobs.put((item, worth))
        self._unannounced.append((item, worth))
        self._announce()
        return item

    def _announce(self) -> None:
        """Offer items to the sinks; not before it is durable that their numbers were used."""
        while self._unannounced and self._unannounced[0][0].seq <= self.disk.mark:
            item, worth = self._unannounced.popleft()
            for outbox in self._outboxes.values():
                outbox.added(item.seq, worth, item.event)

    async def read(self, seq: int) -> Item | None:
        """The item, None when it is gone or damaged (then it is declared)."""
        if (found := self._fresh.get(seq)) is not None:
            return found[0]  # be it on disk by now
        try:
            return await asyncio.to_thread(self.disk.shelf.read, self.camera, seq)
        except Rotten as e:
            self.rotten_items += 1
            log.warning("%s: %s; it is given up", self.camera, e)
            self.give_up(seq, "corrupt")
            return None

    def give_up(self, seq: int, why: str) -> None:
        """Declare the number missing."""
        self._jobs.put(lambda: self._declare(seq, why))

    def resumed(self, sink: str) -> None:
        """That other end told anew what it has: what it lost, and is not here any more either, is declared."""
        top = self.next_seq - 1
        self._jobs.put(lambda: self._declare_gone(sink, top))
        self._jobs.put(self.disk.acks.save)  # whose acknowledgements they are, before it may be deleted

    def numbers(self, first: int) -> list[int]:
        """The numbers from `first` on of the items that are here."""
        return sorted({*self.fresh, *(s for s, _ in self.disk.shelf.kept())}.intersection(range(first, self.next_seq)))

    async def renumber(self, seq: int) -> None:
        """The other end has another item under this number: somebody else has a copy of this spool."""
        item = await self.read(seq)
        if seq >= self._own_from:
            log.error("%s: item %s-%d is another one there: the spool was copied", self.camera, self.id, seq)
            self.disk.next_seq = self.next_seq
            self.disk.leap()
            self.next_seq = self._own_from = self.disk.next_seq
        if item is None:
            return
        while self.fresh and self.fresh_bytes + len(item.payload) > self._memory_bytes:
            await asyncio.sleep(0.05)  # memory is full: where it is now, it is safe
        worth = Worth.STILL if item.type is ItemType.STILL else Worth.HEAD
        moved = self.put(item.type, item.event, item.wall_ns, item.payload, worth)
        while moved.seq in self.fresh:
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        """Everything put is on disk when this returns, as far as the disk takes it."""
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join, CLOSE_S)
        self._broken.cancel()
        if self._writer.is_alive():
            log.error(
                "%s: spool %s: the disk hangs, %d items wait for it", self.camera, self.disk.folder, len(self.fresh)
            )
        elif self._ledger:
            self._attempt(self._ledger.close)

    # --- the writer's thread ---

    def _work(self) -> None:
        try:
            self._write_all()
        except Exception as e:
            self.error = f"nothing is kept any more: {type(e).__name__}: {e}"
            log.exception("%s: spool %s: %s", self.camera, self.disk.folder, self.error)
            broken = e
            self._call(lambda: self._fail(broken))
            with contextlib.suppress(Exception):
                self.disk.close(self.next_seq)

    def _fail(self, e: Exception) -> None:
        if not self._broken.done():
            self._broken.set_exception(e)

    def _write_all(self) -> None:
        waiting: list[tuple[Item, Worth]] = []
        unsynced: list[tuple[Item, Worth]] = []
        synced_s = saved_s = time.monotonic()
        ended = False
        while not ended:
            ended, items, jobs = self._collect(RETRY_S if waiting else BATCH_S if unsynced else SAVE_ACKS_S)
            waiting = self._write(waiting + items, unsynced)
            now = time.monotonic()
            at_once = self._durability == "item" or any(i.event or i.type is not ItemType.STILL for i, _ in unsynced)
            if unsynced and (ended or at_once or now - synced_s >= BATCH_S):
                waiting = [*self._sync(unsynced), *waiting]
                unsynced = []
                synced_s = now
            for job in jobs:
                self._attempt(job)
            if ended or now - saved_s >= SAVE_ACKS_S:
                self._attempt(self.disk.tombstones.save)
                self._attempt(self.disk.acks.save)
                saved_s = now
        if waiting:
            log.warning("%s: %d items were not taken by the disk and are lost", self.camera, len(waiting))
        self._attempt(lambda: self.disk.close(self.next_seq))

    def _collect(self, timeout_s: float) -> tuple[bool, list[tuple[Item, Worth]], list[Job]]:
        """(ended, items, other work) of what waits in the queue, or comes within the time."""
        items: list[tuple[Item, Worth]] = []
        jobs: list[Job] = []
        try:
            got = self._jobs.get(timeout=timeout_s)
            while True:
                if got is None:
                    return True, items, jobs
                if isinstance(got, tuple):
                    items.append(got)
                else:
                    jobs.append(got)
                got = self._jobs.get_nowait()
        except queue.Empty:
            return False, items, jobs

    def _write(self, items: list[tuple[Item, Worth]], unsynced: list[tuple[Item, Worth]]) -> list[tuple[Item, Worth]]:
        """Append to the files, moving items to `unsynced`; returns what must be tried again."""
        again: list[tuple[Item, Worth]] = []
        for i, (item, worth) in enumerate(items):
            if self.error and self.disk.acks.everyone_has(item.seq):
                self._settled([(item, worth)])  # stored at the other ends before this disk took it
                continue
            try:
                self.disk.write(item, worth)
                unsynced.append((item, worth))
            except Full as e:
                self._failed(str(e))
                again.append((item, worth))
            except OSError as e:
                again += [*self._abandon(e, unsynced), *items[i:]]
                unsynced.clear()
                break
        if items and self._unannounced:
            self._call(self._announce)
        return again

    def _sync(self, items: list[tuple[Item, Worth]]) -> list[tuple[Item, Worth]]:
        """Make them durable; returns what must be written again."""
        try:
            self.disk.sync(really=self._durability != "none")
        except OSError as e:
            return self._abandon(e, items)
        if self.error:
            log.info("%s: spool %s: well again", self.camera, self.disk.folder)
            self.error = ""
        self._durable(items)
        return []

    def _abandon(self, e: OSError, items: list[tuple[Item, Worth]]) -> list[tuple[Item, Worth]]:
        """After an error only what was durable before is believed; returns what must be written again."""
        self._failed(e.strerror or str(e))
        self.disk.abandon()
        lost = [(item, worth) for item, worth in items if not self.disk.knows(item.seq)]
        self._durable([one for one in items if one not in lost])
        return lost

    def _durable(self, items: list[tuple[Item, Worth]]) -> None:
        self._attempt(lambda: self._note([f"item {i.camera} {i.spool} {i.seq} {i.sha256.hex()}\n" for i, _ in items]))
        self._settled(items)

    def _declare(self, seq: int, why: str) -> None:
        self.disk.give_up(seq, seq, why)
        self.disk.tombstones.save()

    def _declare_gone(self, sink: str, top: int) -> None:
        if self.disk.declare_gone(sink, top, list(self._fresh)):
            self._call(self._outboxes[sink].changed)
            self.disk.tombstones.save()

    def _gone(self, first: int, last: int, why: str) -> None:
        if why != NOT_OURS:
            self._attempt(lambda: self._note([f"dropped {self.camera} {self.id} {first} {last} {why}\n"]))

    def _note(self, lines: list[str]) -> None:
        if self._ledger:
            self._ledger.write("".join(lines))
            self._ledger.flush()

    def _attempt(self, job: Job) -> None:
        try:
            job()
        except OSError as e:
            self._failed(e.strerror or str(e))

    def _failed(self, why: str) -> None:
        self.write_errors += 1
        level = logging.DEBUG if why == self.error else logging.WARNING
        log.log(level, "%s: spool %s: %s; items wait in memory", self.camera, self.disk.folder, why)
        self.error = why

    def _call(self, function: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            pass  # the loop has ended

    def _settled(self, items: list[tuple[Item, Worth]]) -> None:
        """On disk, or at every other end: memory may forget them."""
        self._kept.extend(item.seq for item, _ in items)
