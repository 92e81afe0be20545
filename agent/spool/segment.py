"""One file of records: written from its beginning by few large writes, recovered after a power cut, read by number."""

from __future__ import annotations

import contextlib
import mmap
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

from agent.frame import Item, Worth
from agent.spool.record import BLOCK, HEAD, MAGIC, Record, pack, unpack, up

SUFFIX = ".seg"
_ZEROS = memoryview(bytes(BLOCK))


class Rotten(Exception):
    """A record's bytes are not what was written; the text says where."""


class Segment:
    """`{number}-{worth}.seg`. Numbers of its items rise; 16 bytes of memory for each.

    A file may be written over another segment's bytes. Every record carries its segment's number: what does not
    belong to the file's name is left over from before, and no item of this spool any more.
    """

    def __init__(self, path: Path, number: int, worth: Worth, opened_s: float = 0.0) -> None:
        self.path = path
        self.number = number
        self.worth = worth
        self.opened_s = opened_s
        self.size = 0
        self.seqs = array("Q")
        self._offsets = array("Q")
        self._fd = -1
        self._length = 0  # of the file: what is left over from before may follow our records
        self._numbered = True
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

    def create(self, over: Path | None = None) -> None:
        """Open for writing: a new file, or `over` another one, which has our name from now on.

        Before the first record the folder must be synced then: else a power cut could give the file its old name
        back, with our records in the midst of what was there.
        """
        flags = os.O_WRONLY | os.O_CLOEXEC
        if over is None:
            self._fd = os.open(self.path, flags | os.O_CREAT | os.O_EXCL, 0o600)
            return
        os.rename(over, self.path)
        self._fd = os.open(self.path, flags)
        self._length = os.fstat(self._fd).st_size

    @property
    def open(self) -> bool:
        return self._fd >= 0

    @property
    def held(self) -> int:
        """Bytes of disk that the file takes."""
        return up(max(self.size, self._length))

    @property
    def reusable(self) -> bool:
        """Whether another segment may be written over this file: every record tells that it was of this one."""
        return self._numbered

    def append(self, item: Item) -> None:
        """Write the item behind the others. After an OSError the segment must be abandoned."""
        head = pack(item, self.worth, self.number)
        end = len(head) + len(item.payload)
        want = up(end)
        os.lseek(self._fd, self.size, os.SEEK_SET)  # a write that failed may have got half way
        done = os.writev(self._fd, [head, item.payload, _ZEROS[: want - end]])
        if done < want:
            rest = memoryview(b"".join([head, item.payload, _ZEROS[: want - end]]))[done:]
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

    def abandon(self) -> None:
        """Nothing that was not synced counts any more.

        A failed write or sync must not be repeated and believed: Linux reports such an error once. The items
        are written again, to another file.
        """
        del self.seqs[self._synced_items :]
        del self._offsets[self._synced_items :]
        self._length = max(self.size, self._length)
        self.size = self._synced_bytes
        self.close()

    def close(self) -> None:
        """Cut off what is not ours; what cannot be cut is ignored at the next start."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):
                if self.size < self._length:
                    os.ftruncate(fd, self.size)
                self._length = self.size
            os.close(fd)

    def sizes(self) -> Iterator[tuple[int, int]]:
        """(number, bytes on disk) of each item."""
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

    def recover(self, *, check_bytes: bool) -> None:
        """Learn what the file holds; cut off a torn end, and what is left over from before.

        `check_bytes` compares every payload with its digest: for files that a power cut may have met.
        """
        self._length = self.path.stat().st_size
        if self._length:
            with open(self.path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
                for record in _walk(data, self.number):
                    rising = not self.seqs or record.seq > self.seqs[-1]
                    if record.worth is self.worth and rising and not (check_bytes and _damaged(data, record)):
                        self._know(record.seq, record.at)
                        self._numbered = self._numbered and record.segment > 0
                        self.size = record.next
        self._synced_bytes, self._synced_items = self.size, len(self.seqs)
        if self.size < self._length:
            os.truncate(self.path, self.size)
            self._length = self.size

    def delete(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


def _damaged(data: mmap.mmap, record: Record) -> bool:
    return Item.digest(data[record.start : record.end]) != record.sha256


def _walk(data: mmap.mmap, number: int) -> Iterator[Record]:
    """The whole records of a file; damaged stretches are stepped over by looking for the next head.

    The first head tells whether the file is of the former format, all of whose records have number 0. In others only
    our number counts: the rest is left over from before.
    """
    at = 0
    ours = None
    while at + HEAD.size <= len(data):
        record = unpack(data[at : at + HEAD.size], at)
        if record is not None and ours is None:
            ours = number if record.segment else 0
        if record is not None and record.segment == ours and record.end <= len(data):
            yield record
            at = record.next
            continue
        found = data.find(MAGIC, at + 1)
        if found < 0:
            return
        at = found
