"""A piece of the disk that is the server's own, let go when it has to start, or to delete, on a disk that is full."""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

NAME = "ballast"
BYTES = 4 * 1024 * 1024
LEAST_BYTES = 256 * 1024  # enough for the index's log and its shared memory


class Ballast:
    """The file `ballast` of a store: nothing in it, but room.

    SQLite cannot open an index without room for two small files beside it, nor note without room for a page that a
    camera is to be erased. Who fills a disk is somebody else as a
    rule: the store refuses items long before.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / NAME
        self._dropped = False

    def drop_if_full(self) -> None:
        """Before the index is opened, or a camera goes: make room where there is less of it than the ballast takes."""
        with suppress(FileNotFoundError):
            if shutil.disk_usage(self._root).free < BYTES:
                self._path.unlink()
                self._dropped = True
                log.warning("the disk of the store %s is full: its ballast goes", self._root)

    def take(self, spare_bytes: int) -> None:
        """Have it, if there are so many bytes to spare; what cannot be had now is asked for again."""
        try:
            if spare_bytes >= BYTES and not (self._path.exists() and self._path.stat().st_size == BYTES):
                self._allocate(BYTES)
        except OSError as e:
            log.debug("%s: %s", self._path, e)

    def take_back(self) -> None:
        """After the index was closed: what it leaves on a full disk is for the next start."""
        try:
            free = shutil.disk_usage(self._root).free
            if self._dropped and free >= LEAST_BYTES and not self._path.exists():
                self._allocate(min(BYTES, free))
        except OSError as e:
            log.debug("%s: %s", self._path, e)

    def _allocate(self, size: int) -> None:
        with open(self._path, "ab", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
            os.posix_fallocate(f.fileno(), 0, size)
