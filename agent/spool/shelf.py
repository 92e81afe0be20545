"""The segments of one spool, oldest first: what is here, looked up by any thread."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator

from agent.errors import TransientError
from agent.frame import Item, Worth
from agent.spool.segment import Rotten, Segment

ROT = (errno.EIO, errno.EUCLEAN, errno.EBADMSG)  # what a disk or a file system says of bytes that are damaged


class Shelf:
    """`lock` guards the list; only the writer's thread changes it. `bytes`: of disk that the files take."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.segments: list[Segment] = []
        self.bytes = 0

    def add(self, segment: Segment, instead: Segment | None = None) -> None:
        """The newest one; `instead` of that over whose bytes it is written."""
        with self.lock:
            if instead:
                self.segments.remove(instead)
            self.segments.append(segment)

    def remove(self, segment: Segment) -> None:
        with self.lock:
            self.segments.remove(segment)

    def count(self) -> int:
        """How many bytes more the files take, after some were begun, cut or deleted; negative: less."""
        before = self.bytes
        with self.lock:
            self.bytes = sum(s.held for s in self.segments)
        return self.bytes - before

    def first(self, fit: Callable[[Segment], bool]) -> Segment | None:
        """The oldest one that fits."""
        with self.lock:
            return next(filter(fit, self.segments), None)

    def of(self, seq: int) -> Segment | None:
        """Where the item with this number is; None when it is not here."""
        return self.first(lambda s: s.has(seq))

    def read(self, camera: str, seq: int) -> Item | None:
        """The item, or None when it is not here any more; raises Rotten when it is damaged, TransientError when it
        cannot be read now."""
        if (segment := self.of(seq)) is None:
            return None
        try:
            return segment.read(camera, seq)
        except FileNotFoundError:
            return None
        except (OSError, Rotten) as e:
            with self.lock:
                if segment not in self.segments:
                    return None  # went while it was read, and was written over
            if isinstance(e, Rotten):
                raise
            why = f"{segment.path.name}: item {seq}: {e.strerror}"
            raise (Rotten(why) if e.errno in ROT else TransientError(f"spool {why}")) from None

    def kept(self) -> list[tuple[int, Worth]]:
        """(number, worth) of every item here, in order of numbers."""
        with self.lock:
            return sorted((seq, s.worth) for s in self.segments for seq in s.seqs)

    def sizes(self) -> list[tuple[int, int]]:
        """(number, bytes) of every item here, in order of numbers."""
        with self.lock:
            return sorted(pair for s in self.segments for pair in s.sizes())

    def wall_ns(self, seq: int) -> int | None:
        """When the item was captured, by its head on disk; None when that cannot be read."""
        segment = self.of(seq)
        try:
            return segment.record(seq).wall_ns if segment else None
        except (OSError, Rotten):
            return None

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)
