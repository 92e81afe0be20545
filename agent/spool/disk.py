"""The files of one spool: segments, numbers, tombstones and acknowledgements; blocking, for one thread."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import secrets
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from agent.durable import sync_folder, write_whole
from agent.errors import UsageError
from agent.frame import Item, Worth
from agent.spool.acks import Acks
from agent.spool.direct import Direct
from agent.spool.origin import Origin
from agent.spool.ranges import Ranges
from agent.spool.record import BLOCK, HEAD, up
from agent.spool.room import Room
from agent.spool.segment import Segment, SyncError
from agent.spool.shelf import Shelf
from agent.spool.tombstones import NOT_OURS, Tombstones

SEGMENT_BYTES = 8 * 1024 * 1024
SEGMENT_SHARE = 16  # of a small spool a segment is no more: whole ones go when space is needed
SMALL_BYTES = 9 * BLOCK  # the folder itself, and of its small files the last block of each
RESERVE = 256
LEAP = 1 << 26
MIN_FREE = 0.05
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Full(Exception):
    """Nothing more can go to make room for this item."""


class Disk:
    """Everything below one folder, written by one thread. `lock` guards what is acknowledged and given up.

    At most `max_bytes` by what the disk holds, and `min_free` (a share of the disk) stays free: segments go to make
    room, the least worth first; `on_gone` hears (first, last, why). Raises UsageError (exit 73) when the folder cannot
    be written or another agent has it.
    """

    def __init__(self, folder: Path, max_bytes: int, sinks: tuple[str, ...], min_free: float = MIN_FREE) -> None:
        self.folder = folder
        self.room = Room(folder, max_bytes, min_free)
        self.shelf = Shelf()
        self.lock = threading.Lock()
        self.evicted_items = 0
        self.copied = False
        self.on_gone: Callable[[int, int, str], None] = lambda first, last, why: None
        self._sinks = sinks
        self._segment_bytes = min(SEGMENT_BYTES, max_bytes // SEGMENT_SHARE)
        self._open: dict[Worth, Segment] = {}
        self._direct = Direct()
        self._number = 0
        self._dirty_folder = False
        try:
            self._claim()
            try:
                self._recover()
            except BaseException:
                self._lock_file.close()
                raise
        except OSError as e:
            raise UsageError(f"spool {e.filename or folder}: cannot be written: {e.strerror}", 73) from None

    # --- opening ---

    def _claim(self) -> None:
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, mode=0o700)
            for parent in (self.folder.parent, self.folder.parent.parent):
                sync_folder(parent)
        self._lock_file = open(self.folder / "lock", "w")  # noqa: SIM115 held while the spool is open
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock_file.close()
            raise UsageError(f"spool {self.folder}: another agent has it", 73) from None

    def _recover(self) -> None:
        origin = Origin(self.folder)
        self.id, self.copied = origin.id, origin.copied
        self.tombstones = Tombstones(self.folder / "tombstones")
        self.acks = Acks(self.folder / "acks.json", self._sinks)
        self.acked = self.acks.by_sink
        found = sorted((n, w, p) for p in self.folder.iterdir() if (nw := Segment.parse(p)) for n, w in [nw])
        newest = {w: n for n, w, _ in found}
        later = Ranges()
        for number, worth, path in reversed(found):  # what was written again is in a later one
            segment = Segment(path, number, worth, self.id, self._direct)
            # Only the last file of each worth was open when the power went; older ones were synced whole.
            segment.recover(check_bytes=newest[worth] == number, later=later)
            self._number = max(self._number, number)
            self.shelf.segments.insert(0, segment)
            later.update((seq, seq) for seq in segment.seqs)
            if not segment.seqs:
                self._delete(segment)
        self._recount()
        self._number_on(later)

    def _number_on(self, here: Ranges) -> None:
        """Numbers go on behind everything that may have been sent; what is missing between is declared."""
        top = max(ranges.last for ranges in (here, self.tombstones.numbers))
        lost = False
        try:
            self.mark = int((self.folder / "mark").read_text())
        except (FileNotFoundError, ValueError):
            self.mark = top
            lost = top > 0 or bool(self.acks)
        self.next_seq = max(top, self.mark) + 1
        self.acks.greet(here)
        for acked in self.acked.values():
            self._declare_gone(here, acked, self.next_seq - 1, "restart")
        if self.copied or lost:
            self.leap()
        with contextlib.suppress(OSError):  # a full disk must not keep it from starting
            self.tombstones.save()
            self.reserve(self.next_seq)

    def leap(self) -> None:
        """Go on with numbers that no other holder of a copy of this spool will use."""
        first = self.next_seq
        self.next_seq = first + LEAP * (1 + secrets.randbelow(16))
        self.give_up(first, self.next_seq - 1, NOT_OURS)

    # --- writing, by the writer's thread ---

    def reserve(self, seq: int) -> None:
        """Make durable that numbers up to `seq` may be in use, and some ahead, before any of them is sent."""
        if seq > self.mark - RESERVE // 2:
            self.tombstones.save()  # of numbers that are not ours none may be taken for one of ours that is missing
            write_whole(self.folder / "mark", str(seq + RESERVE))
            self.mark = seq + RESERVE

    def write(self, item: Item, worth: Worth) -> None:
        """Append; makes room first. Raises Full, or OSError: then what was not synced must be abandoned."""
        size = up(HEAD.size + len(item.payload))
        if size + self._small_bytes > self.room.max_bytes:
            raise Full(f"an item of {len(item.payload)} bytes does not fit into {self.room.max_bytes}")
        while True:
            try:
                self.reserve(item.seq)
                segment = self._segment(worth, item.seq)
                self._make_room(max(segment.size + size - segment.held, 0))
                if segment.open:  # else it had to go itself
                    self._append(segment, item)
                    return
            except SyncError:
                raise
            except OSError as e:
                if e.errno not in NO_SPACE or not self._evict():
                    raise

    def _append(self, segment: Segment, item: Item) -> None:
        before = segment.held
        segment.append(item)
        self.shelf.bytes += segment.held - before
        self.room.took(segment.held - before)

    def _recount(self) -> None:
        """How much the disk holds, after files were begun, cut or deleted."""
        self.room.took(self.shelf.count())

    def _segment(self, worth: Worth, seq: int) -> Segment:
        segment = self._open.get(worth)
        if segment and segment.size < self._segment_bytes and (not segment.seqs or seq > segment.seqs[-1]):
            return segment
        if segment:
            self._sync(segment)
            del self._open[worth]
            segment.close()
            self._recount()
        return self._begin(worth)

    def _begin(self, worth: Worth) -> Segment:
        spare = self._spare()
        self._number += 1
        path = self.folder / Segment.name(self._number, worth)
        segment = Segment(path, self._number, worth, self.id, self._direct)
        segment.create(spare.path if spare else None)
        self.shelf.add(segment, instead=spare)
        self._open[worth] = segment
        self._dirty_folder = True
        self._recount()
        if spare:
            self._sync_folder()
        return segment

    def _spare(self) -> Segment | None:
        """The segment that all have, when the space of a new one would have to come from such a one.

        Over bytes that the file has already, a sync writes just these: a longer file costs the file system's journal
        a transaction, twice the writes and flushes of a card.
        """
        if not self._lack(self._segment_bytes):
            return None
        found = self.shelf.first(lambda s: not s.open and self._delivered(s))
        if found is None or 2 * found.held < self._segment_bytes:
            return None
        self.acks.save()
        return found

    def _delivered(self, segment: Segment) -> bool:
        """Whether every sink's other end has all of it."""
        return bool(segment.seqs or not segment.open) and all(map(self.acks.everyone_has, segment.seqs))

    def sync(self, *, really: bool = True) -> None:
        """Everything written is durable when this returns, or (not `really`) taken for it. Raises OSError: then
        abandon."""
        for segment in self._open.values():
            if really:
                self._sync(segment)
            else:
                segment.believe()

    def _sync(self, segment: Segment) -> None:
        if self._dirty_folder:  # no record counts as synced before its file has a name
            self._sync_folder()
        segment.sync()

    def _sync_folder(self) -> None:
        try:
            sync_folder(self.folder)
        except OSError as e:
            raise SyncError(e.errno, e.strerror) from None
        self._dirty_folder = False

    def abandon(self) -> None:
        """After an error: what was not synced is not here any more and has to be written again."""
        for segment in self._open.values():
            segment.abandon()
            if not segment.seqs:
                self._delete(segment)
        self._open.clear()
        self._recount()

    def _delete(self, segment: Segment) -> None:
        """What cannot be deleted counts until it can."""
        with contextlib.suppress(OSError):
            segment.delete()
            self.shelf.remove(segment)

    def _lack(self, want: int) -> str:
        return self.room.lack(self.held, want)

    @property
    def held(self) -> int:
        """Bytes of disk that everything here takes."""
        return self.shelf.bytes + self._small_bytes

    @property
    def _small_bytes(self) -> int:
        return SMALL_BYTES + 2 * self.acks.size + self.tombstones.size

    def _make_room(self, want: int) -> None:
        """On a disk that others have filled the spool does not grow: what comes takes the place of what all have, else
        of what is worth least."""
        while why := self._lack(want):
            may = self.room.freed >= want and self.held + want <= self.room.max_bytes
            if may and not self.shelf.first(self._delivered):
                return
            if not self._evict():
                raise Full(why)

    def _evict(self) -> bool:
        """Delete the segment that is worth least: one that all have, else the least worth, the oldest first.

        A disk that takes not even the note of it must not keep it from making room: numbers that are missing
        are declared at the next start in any case.
        """
        done = self.shelf.first(self._delivered)
        victim = done or min((s for s in self.shelf if s.seqs), key=lambda s: (s.worth, s.number), default=None)
        if not victim:
            return False
        if not done:
            self._declare(victim)
        with contextlib.suppress(OSError):
            self.tombstones.save()
            self.acks.save()
        if self._open.get(victim.worth) is victim:
            del self._open[victim.worth]
        victim.delete()
        self.shelf.remove(victim)
        self._recount()
        return True

    def knows(self, seq: int) -> bool:
        """Whether the item is here, or was given up."""
        return seq in self.tombstones.numbers or self.shelf.of(seq) is not None

    def _declare(self, victim: Segment) -> None:
        """Tombstones for what not every sink has, before the file goes."""
        for first, last in Ranges((s, s) for s in victim.seqs if not self.acks.everyone_has(s)).all():
            self.give_up(first, last, "quota")
            self.evicted_items += last - first + 1

    def declare_gone(self, sink: str, top: int, waiting: Iterable[int]) -> list[tuple[int, int]]:
        """Of the numbers up to `top`: what neither this sink's other end has nor we, apart from what is `waiting`."""
        here = Ranges((seq, seq) for seq in waiting)
        here.update((seq, seq) for seq, _ in self.shelf.kept())
        return self._declare_gone(here, self.acked[sink], top, "quota")

    def _declare_gone(self, here: Ranges, acked: Ranges, top: int, why: str) -> list[tuple[int, int]]:
        known = Ranges([*here.all(), *self.tombstones.numbers.all(), *acked.all()])
        gone = known.holes(1, top)
        for first, last in gone:
            self.give_up(first, last, why)
        return gone

    def give_up(self, first: int, last: int, why: str) -> None:
        """Declare them missing; durable with the next `tombstones.save`."""
        with self.lock:
            self.tombstones.add(first, last, why)
        self.on_gone(first, last, why)

    def close(self, next_seq: int) -> None:
        """Orderly end: the numbers go on where they stopped. Raises OSError."""
        try:
            self.sync()
            self.tombstones.save()
            self.acks.save()
            write_whole(self.folder / "mark", str(next_seq - 1))
        finally:
            for segment in self._open.values():
                segment.close()
            self._open.clear()
            self._lock_file.close()
