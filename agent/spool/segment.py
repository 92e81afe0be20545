"""One append-only file of records: written by few large writes, recovered after a power cut, read by number."""

from __future__ import annotations

import mmap
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

from agent.frame import Item, Worth
from agent.spool.record import HEAD, MAGIC, Record, pack, unpack

SUFFIX = ".seg"


class Rotten(Exception):
    """A record's bytes are not what was written; the text says where."""


class Segment:
    """`{number}-{worth}.seg`. Numbers of its items rise; 16 bytes of memory for each."""

    def __init__(self, path: Path, worth: Worth, opened_s: float = 0.0) -> None:
        self.path = path
        self.worth = worth
        self.opened_s = opened_s
        self.size = 0
        self.seqs = array("Q")
        self._offsets = array("Q")
        self._fd = -1
        self._synced_bytes = self._synced_items = 0

    @staticmethod
    def name(number: int, worth: Worth) -> str:
        return f"{number:010d}-{worth.name.lower()}{SUFFIX}"

    @staticmethod
    def parse(path: Path) -> tuple[int, Worth] | None:
        """(number, worth) from a file's name, None for other files."""
        number, _, worth = path.stem.partition("-")
        if path.suffix != SUFFIX or not number.isdigit() or worth.upper() not in Worth.__members__:
            return None
        return int(number), Worth[worth.upper()]

    def create(self) -> None:
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)

    @property
    def open(self) -> bool:
        return self._fd >= 0

    def append(self, item: Item) -> None:
        """Write the item behind the others. After an OSError the segment must be abandoned."""
        data = pack(item, self.worth)
        want = len(data) + len(item.payload)
        done = os.writev(self._fd, [data, item.payload])
        if done < want:
            rest = memoryview(data + item.payload)[done:]
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        self._know(item.seq, self.size)
        self.size += want

    def _know(self, seq: int, at: int) -> None:
        self.seqs.append(seq)
        self._offsets.append(at)

    def sync(self) -> None:
        """Everything appended is durable when this returns. After an OSError the segment must be abandoned."""
        if self._synced_items < len(self.seqs):
            os.fdatasync(self._fd)
            self._synced_bytes, self._synced_items = self.size, len(self.seqs)

    def abandon(self) -> int:
        """Nothing that was not synced counts any more; returns the bytes forgotten.

        A failed write or sync must not be repeated and believed: Linux reports such an error once. The items
        are written again, to another file.
        """
        gone = self.size - self._synced_bytes
        try:
            os.ftruncate(self._fd, self._synced_bytes)
        except OSError:
            pass  # the next start drops what is there twice
        del self.seqs[self._synced_items :]
        del self._offsets[self._synced_items :]
        self.size = self._synced_bytes
        self.close()
        return gone

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def sizes(self) -> Iterator[tuple[int, int]]:
        """(number, bytes with its head) of each item."""
        ends = [*self._offsets[1:], self.size]
        return ((seq, end - at) for seq, at, end in zip(self.seqs, self._offsets, ends, strict=True))

    def record(self, seq: int) -> Record | None:
        """The head of the item with this number, which must be here; None when it is damaged."""
        at = self._offsets[bisect_left(self.seqs, seq)]
        with open(self.path, "rb") as f:
            f.seek(at)
            return unpack(f.read(HEAD.size), at)

    def has(self, seq: int) -> bool:
        i = bisect_left(self.seqs, seq)
        return i < len(self.seqs) and self.seqs[i] == seq

    def read(self, camera: str, spool: str, seq: int) -> Item:
        """The item with this number, which must be here; raises Rotten or OSError."""
        at = self._offsets[bisect_left(self.seqs, seq)]
        with open(self.path, "rb") as f:
            f.seek(at)
            record = unpack(f.read(HEAD.size), at)
            if record is None or record.seq != seq:
                raise Rotten(f"{self.path.name} at byte {at}: the head of item {seq} is damaged")
            payload = f.read(record.length)
        if Item.digest(payload) != record.sha256:
            raise Rotten(f"{self.path.name} at byte {at}: the bytes of item {seq} are damaged")
        return Item(camera, spool, seq, record.type, record.event, record.wall_ns, payload, record.sha256)

    def recover(self, *, check_bytes: bool) -> int:
        """Learn what the file holds; cut a torn end off. Returns the bytes that were damaged or torn.

        `check_bytes` compares every payload with its digest: for files that a power cut may have met.
        """
        size = self.path.stat().st_size
        if size == 0:
            return 0
        good_end = bad = 0
        with open(self.path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for record in _walk(data):
                if record.worth is not self.worth or (self.seqs and record.seq <= self.seqs[-1]):
                    continue
                if check_bytes and Item.digest(data[record.start : record.end]) != record.sha256:
                    continue
                bad += record.at - good_end
                good_end = record.end
                self._know(record.seq, record.at)
        self.size = self._synced_bytes = good_end
        self._synced_items = len(self.seqs)
        if good_end < size:
            bad += size - good_end
            os.truncate(self.path, good_end)
        return bad

    def delete(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


def _walk(data: mmap.mmap) -> Iterator[Record]:
    """The whole records of a file; damaged stretches are stepped over by looking for the next head."""
    at = 0
    while at + HEAD.size <= len(data):
        record = unpack(data[at : at + HEAD.size], at)
        if record is not None and record.end <= len(data):
            yield record
            at = record.end
            continue
        found = data.find(MAGIC, at + 1)
        if found < 0:
            return
        at = found
