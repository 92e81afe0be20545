"""How much a spool may hold, and whether something more fits."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

MIB = 1024 * 1024
LOOK_S = 1.0


class Room:
    """At most `max_bytes` in the folder, and `min_free` (a share) of its disk stays free.

    `freed`: bytes given back; so many may be taken again on a disk that others have filled. The disk is looked at once
    a second and once a MiB: that is a call into the file system for every item less.
    """

    def __init__(self, folder: Path, max_bytes: int, min_free: float) -> None:
        self.max_bytes = max_bytes
        self.freed = 0
        self._folder = folder
        self._min_free = min_free
        self._spare = -1
        self._looked_s = 0.0

    def lack(self, held: int, want: int) -> str:
        """Why `want` bytes more than the `held` ones do not fit, "" when they do; raises OSError."""
        if held + want > self.max_bytes:
            return f"{want} bytes more do not fit into {self.max_bytes}"
        now = time.monotonic()
        if self._spare < max(want, 0) or now - self._looked_s > LOOK_S:
            disk = shutil.disk_usage(self._folder)
            self._spare = min(int(disk.free - disk.total * self._min_free), max(want, MIB))
            self._looked_s = now
        if self._spare < max(want, 0):
            return f"less than {self._min_free:.0%} of the disk is free"
        return ""

    def took(self, size: int) -> None:
        """So many bytes were written; negative: given back."""
        self.freed = max(self.freed - size, 0)
        self._spare = self._spare - size if size > 0 else -1  # look again
