"""A journal's file: pictures behind each other, each with a head that tells whether it is whole."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.frame import Item, ItemType
from agent.media import clip

log = logging.getLogger(__name__)

FILL_BYTES = 4 * 1024 * 1024
MOST_BYTES = 2 * FILL_BYTES
"""What is larger is no journal."""
NAMES = ("journal-a", "journal-b")
MAGIC = b"CAJ1"
HEAD = struct.Struct(">4sQIII")
"""Magic, the number that the clip will have, its event, bytes of the payload, CRC-32 of all this and the payload.

The payload is a clip of one picture; the clip of a file is its payloads joined. Numbers never come again within a
run, so that what an earlier filling left behind ends the file.
"""
LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class Written:
    """What a file holds: the clip that it is to become."""

    seq: int
    event: int
    payload: bytes
    pictures: int
    bytes: int
    """Of the file."""

    def item(self, camera: str, spool: str) -> Item:
        wall_ns = next(clip.entries(self.payload)).wall_ns
        digest = Item.digest(self.payload)
        return Item(camera, spool, self.seq, ItemType.CLIP, self.event, wall_ns, self.payload, digest)


def parse(data: bytes) -> Written | None:
    """The records up to the first that is torn, or of another filling; None: there is none."""
    at, clip_of = 0, None
    parts: list[memoryview] = []
    while (found := _record(data, at)) is not None and clip_of in (None, found[0]):
        clip_of, payload = found
        parts.append(payload)
        at += HEAD.size + len(payload)
    return Written(*clip_of, b"".join(parts), len(parts), at) if clip_of else None


def behind(data: bytes, at: int) -> set[int]:
    """The numbers of whole records that come after one, at this place, that is not."""
    found = set()
    for _ in range(LOOKED_AT):
        if (at := data.find(MAGIC, at + 1)) < 0:
            break
        if (record := _record(data, at)) is not None:
            found.add(record[0][0])
    return found


def _record(data: bytes, at: int) -> tuple[tuple[int, int], memoryview] | None:
    """(number, event) and the payload of the record at this place, if it is whole."""
    if at + HEAD.size > len(data):
        return None
    magic, seq, event, length, crc = HEAD.unpack_from(data, at)
    payload = memoryview(data)[at + HEAD.size : at + HEAD.size + length]
    whole = magic == MAGIC and len(payload) == length > 0 and crc == _crc(seq, event, payload)
    return ((seq, event), payload) if whole else None


def _crc(seq: int, event: int, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(HEAD.pack(MAGIC, seq, event, len(payload), 0)))


def left_in(store: Path) -> list[Path]:
    """The files of all runs in the store. Blocks."""
    runs = (run for camera in _folders(store / "items") for run in _folders(camera))
    return [path for run in runs for name in NAMES if os.path.lexists(path := run / name)]


def _folders(of: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError), os.scandir(of) as entries:
        yield from (Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))


def read(path: Path) -> bytes:
    """All of a file that may be a journal. Blocks. Raises OSError, also for what is none: a link, a pipe, too large."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "is no plain file", str(path))
        if status.st_size > MOST_BYTES:
            raise OSError(errno.EFBIG, "is larger than any journal", str(path))
        return _read(fd, status.st_size)
    finally:
        os.close(fd)


def _read(fd: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size and (part := os.pread(fd, size, sum(map(len, parts)))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def remove(path: Path) -> None:
    """The file, and the folder of its run where that is empty. Raises OSError."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


class Half:
    """One of a journal's two files: one is filled while the other becomes a clip.

    `broken`: a write failed, or what was written is damaged: the file is not used again.
    """

    __slots__ = ("broken", "event", "fd", "path", "seq", "size")

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.broken = False
        self.begin(0, 0)

    def begin(self, seq: int, event: int) -> None:
        """Fill it anew, from its first byte."""
        self.seq, self.event, self.size = seq, event, 0

    def takes(self, event: int, length: int) -> bool:
        """Whether one more record of the event belongs into this clip."""
        return event == self.event and not self.broken and self.size + length <= FILL_BYTES

    def record(self, payload: bytes) -> bytes:
        head = HEAD.pack(MAGIC, self.seq, self.event, len(payload), _crc(self.seq, self.event, payload))
        return head + payload

    def write(self, at: int, record: bytes) -> None:
        """Blocks; where it fails the file is broken."""
        try:
            done = os.pwrite(self.fd, record, at)
            while done < len(record):
                done += os.pwrite(self.fd, memoryview(record)[done:], at + done)
        except OSError as e:
            self._fail(e)

    def sync(self) -> None:
        """The same."""
        try:
            if not self.broken:
                os.fdatasync(self.fd)
        except OSError as e:
            self._fail(e)

    def _fail(self, e: OSError) -> None:
        self.broken = True
        log.warning("%s: %s; pictures are refused", self.path, e.strerror)

    def item(self, camera: str, spool: str) -> Item | None:
        """What was written, as far as it is whole. Blocks. Raises OSError."""
        written = parse(_read(self.fd, self.size))
        if written is not None and written.seq != self.seq:
            written = None
        if not self.broken and (written is None or written.bytes < self.size):
            self.broken = True
            log.error("%s: pictures that were stored are damaged", self.path)
        return written.item(camera, spool) if written else None

    def close(self, *, keep: bool) -> None:
        """`keep`: the file stays for the next start, which also removes one that cannot be removed now. Blocks."""
        try:
            os.close(self.fd)
            if not keep:
                remove(self.path)
        except OSError as e:
            log.debug("%s: %s", self.path, e)
