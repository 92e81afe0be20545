"""One file of records: written from its beginning by few large writes, recovered after a power cut, read by number."""

from __future__ import annotations

import contextlib
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

from agent.frame import Item, Worth
from agent.spool.direct import Direct
from agent.spool.ranges import Ranges
from agent.spool.record import BLOCK, HEAD, Record, pack, unpack, up

SUFFIX = ".seg"
_ZEROS = bytes(BLOCK)


class Rotten(Exception):
    """A record's bytes are not what was written; the text says where."""


class SyncError(OSError):
    """What should be durable now may be lost. To sync again proves nothing: Linux tells of such an error once."""


class Segment:
    """`{number}-{worth}.seg`. Numbers of its items rise; 16 bytes of memory for each.

    A file may be written over another segment's bytes. Every record tells its spool and segment: what is of others
    is left over from before, or somebody's picture, and no item.
    """

    def __init__(self, path: Path, number: int, worth: Worth, spool: str, direct: Direct) -> None:
        self.path = path
        self.number = number
        self.worth = worth
        self.size = 0
        self.seqs = array("Q")
        self._spool = spool
        self._direct = direct
        self._offsets = array("Q")
        self._fd = -1
        self._length = 0  # of the file: what is left over from before may follow our records
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
        back, with our records in the midst of what was there. After an OSError everything is as it was before.
        """
        flags = os.O_WRONLY | os.O_CLOEXEC
        if over is None:
            self._fd = os.open(self.path, flags | os.O_CREAT | os.O_EXCL, 0o600)
            return
        fd = os.open(over, flags)
        try:
            os.rename(over, self.path)
        except OSError:
            os.close(fd)
            raise
        self._fd, self._length = fd, os.fstat(fd).st_size

    @property
    def open(self) -> bool:
        return self._fd >= 0

    @property
    def held(self) -> int:
        """Bytes of disk that the file takes."""
        return up(max(self.size, self._length))

    def append(self, item: Item) -> None:
        """Write the item behind the others. After an OSError it may be tried again, or the segment abandoned."""
        head = pack(item, self.worth, self.number, self.size)
        end = len(head) + len(item.payload)
        want = up(end)
        parts = [head, item.payload, _ZEROS[: want - end]]
        done = self._direct.write(self._fd, parts, self.size) or os.pwritev(self._fd, parts, self.size)
        if done < want:
            rest = memoryview(b"".join(parts))
            while done < want:
                done += os.pwrite(self._fd, rest[done:], self.size + done)
        self._know(item.seq, self.size)
        self.size += want

    def _know(self, seq: int, at: int) -> None:
        self.seqs.append(seq)
        self._offsets.append(at)

    def sync(self) -> None:
        """Everything appended is durable when this returns. After SyncError the segment must be abandoned."""
        if self._synced_items < len(self.seqs):
            try:
                os.fdatasync(self._fd)
            except OSError as e:
                raise SyncError(e.errno, e.strerror) from None
            self.believe()

    def believe(self) -> None:
        """Everything appended counts."""
        self._synced_bytes, self._synced_items = self.size, len(self.seqs)

    def abandon(self) -> None:
        """Nothing that was not synced counts any more: its items are written again, to another file."""
        del self.seqs[self._synced_items :]
        del self._offsets[self._synced_items :]
        self.size = self._synced_bytes
        self.close()

    def close(self) -> None:
        """Cut off what is not ours.

        What cannot be cut may be found at the next start. Left over from before, it is ignored; abandoned, it yields
        to the copy that was written later.
        """
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._length = os.fstat(fd).st_size
            self._cut(fd)
            os.close(fd)

    def _cut(self, fd: int) -> None:
        if self.size < self._length:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, self.size)
                self._length = self.size

    def sizes(self) -> Iterator[tuple[int, int]]:
        """(number, bytes on disk) of each item."""
        ends = [*self._offsets[1:], self.size]
        return ((seq, end - at) for seq, at, end in zip(self.seqs, self._offsets, ends, strict=True))

    def has(self, seq: int) -> bool:
        i = bisect_left(self.seqs, seq)
        return i < len(self.seqs) and self.seqs[i] == seq

    def record(self, seq: int) -> Record:
        """The head of the item with this number, which must be here; raises Rotten or OSError."""
        with _reading(self.path) as fd:
            return self._record(fd, seq)

    def read(self, camera: str, seq: int) -> Item:
        """The item with this number, which must be here; raises Rotten or OSError."""
        with _reading(self.path) as fd:
            record = self._record(fd, seq)
            payload = os.pread(fd, record.length, record.start)
        if Item.digest(payload) != record.sha256:
            raise Rotten(f"{self.path.name} at byte {record.at}: the bytes of item {seq} are damaged")
        return Item(camera, self._spool, seq, record.type, record.event, record.wall_ns, payload, record.sha256)

    def _record(self, fd: int, seq: int) -> Record:
        at = self._offsets[bisect_left(self.seqs, seq)]
        record = self._head(fd, at)
        if record is None or record.seq != seq:
            raise Rotten(f"{self.path.name} at byte {at}: the head of item {seq} is damaged")
        return record

    def _head(self, fd: int, at: int) -> Record | None:
        record = unpack(os.pread(fd, HEAD.size, at), at)
        ours = record is not None and record.spool == self._spool and record.segment == self.number
        return record if ours else None

    def recover(self, *, check_bytes: bool, later: Ranges) -> None:
        """Learn what the file holds; cut off a torn end, and what is left over from before.

        `check_bytes` compares every payload with its digest: for files that a power cut may have met. Numbers in
        `later` are in a later segment, because what was written here was not believed.
        """
        fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._length = os.fstat(fd).st_size
            for record in self._walk(fd):
                new = record.seq not in later and (not self.seqs or record.seq > self.seqs[-1])
                if new and record.worth is self.worth and not (check_bytes and _damaged(fd, record)):
                    self._know(record.seq, record.at)
                    self.size = record.next
            self.believe()
            self._cut(fd)
        finally:
            os.close(fd)

    def _walk(self, fd: int) -> Iterator[Record]:
        """The whole records of the file; damaged blocks, unreadable ones too, are stepped over."""
        at = 0
        while at < self._length:
            try:
                record = self._head(fd, at)
            except OSError:
                record = None
            if record is not None and record.end <= self._length:
                yield record
                at = record.next
            else:
                at += BLOCK

    def delete(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _damaged(fd: int, record: Record) -> bool:
    try:
        return Item.digest(os.pread(fd, record.length, record.start)) != record.sha256
    except OSError:
        return True
