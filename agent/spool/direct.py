"""Large writes around the page cache, where they cost several times the copy: its pages are new ones each time, nobody
reads them again, and a machine with little memory gives away others for them."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Sequence

LARGE = 128 * 1024
"""from this size on: of less, much is written into the cache and synced at once quicker than one after the other"""
CHUNK = 256 * 1024
REFUSALS = (errno.EINVAL, errno.EOPNOTSUPP)
"""where it is not known, or blocks are larger than ours"""


class Direct:
    """For one thread: a buffer that lies as O_DIRECT (open(2)) wants it, at whole blocks."""

    def __init__(self) -> None:
        self._buffer = memoryview(mmap.mmap(-1, CHUNK))
        self._works = True

    def write(self, fd: int, parts: Sequence[bytes], at: int) -> int:
        """Write the parts, which are whole blocks together, one behind the other at a whole block; returns how many
        bytes were.

        Less than all where they are few, or the file system does not take them so. Raises OSError.
        """
        if not self._works or sum(map(len, parts)) < LARGE:
            return 0
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        done = filled = 0
        try:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT)
            for part in parts:
                rest = memoryview(part)
                while rest:
                    n = min(len(rest), CHUNK - filled)
                    self._buffer[filled : filled + n] = rest[:n]
                    rest, filled = rest[n:], filled + n
                    if filled == CHUNK:
                        done += (written := os.pwrite(fd, self._buffer, at + done))
                        if written < CHUNK:
                            return done
                        filled = 0
            return done + (os.pwrite(fd, self._buffer[:filled], at + done) if filled else 0)
        except OSError as e:
            if e.errno not in REFUSALS:
                raise
            self._works = False
            return done
        finally:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags)
