"""CPU and memory of whole process trees, read from /proc, so that programs in any language compare."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024


def tree(pid: int) -> list[int]:
    """The process and all that came from it, as far as they live."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            found += tree(int(child))
    return found


def cpu_s(pid: int) -> float:
    """User and system seconds of the tree so far, from the scheduler's nanosecond counters."""
    total = 0
    for one in tree(pid):
        for stat in Path(f"/proc/{one}/task").glob("*/schedstat"):
            try:
                total += int(stat.read_text().split()[0])
            except (OSError, IndexError):
                continue
    return total / 1e9


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident MiB: all, and the anonymous part."""

    rss_mib: float
    anonymous_mib: float


def memory(pid: int) -> Memory:
    """Of the whole tree; pages that processes share count in each."""
    rss = anonymous = 0
    for one in tree(pid):
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith("Rss:"):
                rss += int(line.split()[1])
            elif line.startswith("Anonymous:"):
                anonymous += int(line.split()[1])
    return Memory(rss / 1024, anonymous / 1024)


def descriptors(pid: int) -> int:
    """Open file descriptors of one process."""
    return len(os.listdir(f"/proc/{pid}/fd"))
