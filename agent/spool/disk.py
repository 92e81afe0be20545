"""The files of one spool: segments, numbers, tombstones and acknowledgements; blocking, for one thread."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import threading
import time
from pathlib import Path

from agent.errors import UsageError
from agent.frame import Item, Worth
from agent.spool.ranges import Ranges
from agent.spool.record import HEAD
from agent.spool.segment import Rotten, Segment

SEGMENT_BYTES = 8 * 1024 * 1024
SEGMENT_S = 60.0
RESERVE = 256
MIN_FREE = 0.05


class Full(Exception):
    """Nothing more can go to make room for this item."""


def write_whole(path: Path, text: str) -> None:
    """Replace a small file so that a power cut leaves the old one or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", encoding="utf-8") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Disk:
    """Everything below one folder. `lock` guards the lists; files are written by one thread only.

    Raises UsageError (exit 73) when the folder cannot be written or another agent has it.
    """

    def __init__(self, folder: Path, max_bytes: int, sinks: tuple[str, ...]) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._sinks = sinks
        self.lock = threading.Lock()
        self.segments: list[Segment] = []
        self.given_up: list[tuple[int, int, str]] = []
        self.acked: dict[str, Ranges] = {}
        self.bytes = 0
        self.evicted_items = 0
        self.damaged_bytes = 0
        self._open: dict[Worth, Segment] = {}
        self._number = 0
        self._dirty_folder = False
        try:
            self._claim()
            self._recover()
        except OSError as e:
            raise UsageError(f"spool {folder}: cannot be written: {e.strerror}", 73) from None

    # --- opening ---

    def _claim(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_file = open(self.folder / "lock", "w")  # noqa: SIM115 held while the spool is open
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock_file.close()
            raise UsageError(f"spool {self.folder}: another agent has it", 73) from None

    def _recover(self) -> None:
        name = self.folder / "spool.json"
        try:
            self.id = str(json.loads(name.read_text())["spool"])
        except (FileNotFoundError, ValueError, KeyError):
            self.id = secrets.token_hex(8)
            write_whole(name, json.dumps({"spool": self.id, "version": 1}))
        self._read_tombstones()
        self._read_acks()
        found = sorted((n, w, p) for p in self.folder.iterdir() if (nw := Segment.parse(p)) for n, w in [nw])
        newest = {w: n for n, w, _ in found}
        for number, worth, path in found:
            segment = Segment(path, worth)
            # Only the last file of each worth was open when the power went; older ones were synced whole.
            self.damaged_bytes += segment.recover(check_bytes=newest[worth] == number)
            self._number = max(self._number, number)
            if segment.seqs:
                self.segments.append(segment)
                self.bytes += segment.size
            else:
                segment.delete()
        self._reserve_from()

    def _reserve_from(self) -> None:
        """Numbers go on behind everything that may have been sent; what is missing between is declared."""
        top = max([s.seqs[-1] for s in self.segments] + [last for _, last, _ in self.given_up] + [0])
        try:
            self._mark = int((self.folder / "mark").read_text())
        except (FileNotFoundError, ValueError):
            self._mark = top
        self.next_seq = max(top, self._mark) + 1
        known = Ranges((s, s) for segment in self.segments for s in segment.seqs)
        for first, last, _ in self.given_up:
            known.add(first, last)
        for ranges in self.acked.values():
            for first, last in ranges.all():
                known.add(first, last)
        for first, last in known.holes(1, self.next_seq - 1):
            self.tombstone(first, last, "restart")

    def _read_tombstones(self) -> None:
        try:
            lines = (self.folder / "tombstones").read_text().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            words = line.split()
            if len(words) == 3 and words[0].isdigit() and words[1].isdigit():
                self.given_up.append((int(words[0]), int(words[1]), words[2]))

    def _read_acks(self) -> None:
        try:
            saved = json.loads((self.folder / "acks.json").read_text())
            self.acked = {k: Ranges((int(a), int(b)) for a, b in saved.get(k, ())) for k in self._sinks}
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            self.acked = {k: Ranges() for k in self._sinks}

    # --- writing, by the writer's thread ---

    def reserve(self, seq: int) -> None:
        """Make durable that numbers up to `seq` may be in use, some ahead, before any of them is."""
        if seq > self._mark:
            write_whole(self.folder / "mark", str(seq + RESERVE))
            self._mark = seq + RESERVE

    def write(self, item: Item, worth: Worth) -> None:
        """Append; makes room first. Raises Full, or OSError of the disk."""
        self.reserve(item.seq)
        self._make_room(len(item.payload) + HEAD.size)
        while True:
            segment = self._segment(worth)
            try:
                segment.append(item)
                break
            except OSError as e:
                if e.errno not in (errno.ENOSPC, errno.EDQUOT) or not self._evict():
                    raise
        with self.lock:
            self.bytes += len(item.payload) + HEAD.size

    def _segment(self, worth: Worth) -> Segment:
        segment = self._open.get(worth)
        now = time.monotonic()
        if segment and segment.open and segment.size < SEGMENT_BYTES and now - segment.opened_s < SEGMENT_S:
            return segment
        if segment:
            segment.sync()
            segment.close()
        self._number += 1
        segment = Segment(self.folder / Segment.name(self._number, worth), worth, now)
        segment.create()
        self._dirty_folder = True
        self._open[worth] = segment
        with self.lock:
            self.segments.append(segment)
        return segment

    def sync(self) -> None:
        """Everything written is durable when this returns."""
        for segment in self._open.values():
            segment.sync()
        if self._dirty_folder:
            sync_folder(self.folder)
            self._dirty_folder = False

    def _make_room(self, want: int) -> None:
        while self.bytes + want > self.max_bytes:
            if not self._evict():
                raise Full(f"spool {self.folder}: an item of {want} bytes does not fit into {self.max_bytes}")
        disk = shutil.disk_usage(self.folder)
        while disk.free - want < disk.total * MIN_FREE:
            if not self._evict():
                break
            disk = shutil.disk_usage(self.folder)

    def _evict(self) -> bool:
        """Delete the segment that is worth least: one that all have, else the least worth, the oldest first."""
        with self.lock:
            candidates = [s for s in self.segments if s.seqs]
            if not candidates:
                return False
            done = [s for s in candidates if self._everyone_has(s)]
            victim = done[0] if done else min(candidates, key=lambda s: (s.worth, s.path.name))
            self.segments.remove(victim)
            self.bytes -= victim.size
        if done:
            self.save_acks()  # or the next start would take the deleted numbers for lost
        else:
            self._declare(victim)
        if self._open.get(victim.worth) is victim:
            del self._open[victim.worth]
        victim.delete()
        return True

    def _everyone_has(self, segment: Segment) -> bool:
        return bool(self.acked) and all(all(seq in r for seq in segment.seqs) for r in self.acked.values())

    def _declare(self, victim: Segment) -> None:
        """Tombstones for what not every sink has, before the file goes."""
        lost = Ranges((s, s) for s in victim.seqs if not all(s in r for r in self.acked.values()))
        for first, last in lost.all():
            self.tombstone(first, last, "quota")
            self.evicted_items += last - first + 1

    def tombstone(self, first: int, last: int, why: str) -> None:
        """Durably give these numbers up."""
        with open(self.folder / "tombstones", "a", encoding="utf-8") as f:
            f.write(f"{first} {last} {why}\n")
            f.flush()
            os.fsync(f.fileno())
        with self.lock:
            self.given_up.append((first, last, why))

    def save_acks(self) -> None:
        """A stale file only means that some items are sent twice, which the other end notices."""
        with self.lock:
            text = json.dumps({k: r.all() for k, r in self.acked.items()})
        write_whole(self.folder / "acks.json", text)

    # --- reading, by any thread ---

    def read(self, camera: str, seq: int) -> Item | None:
        """The item, or None when it is not here any more; raises Rotten when it is damaged."""
        with self.lock:
            segment = next((s for s in self.segments if s.has(seq)), None)
        if segment is None:
            return None
        try:
            return segment.read(camera, self.id, seq)
        except FileNotFoundError:
            return None
        except OSError as e:
            raise Rotten(f"{segment.path.name}: item {seq}: {e.strerror}") from None

    def kept(self) -> list[tuple[int, Worth]]:
        """(number, worth) of every item here, in order of numbers."""
        with self.lock:
            return sorted((seq, s.worth) for s in self.segments for seq in s.seqs)

    def close(self) -> None:
        for segment in self._open.values():
            segment.sync()
            segment.close()
        self._lock_file.close()
