"""Which other programs have a device open, as far as this user may know."""

from __future__ import annotations

import os
from contextlib import suppress


def holders(*paths: str) -> list[str]:
    """`cheese (pid 812)` for each process that has one of `paths` open; empty where /proc does not tell."""
    wanted = {os.path.realpath(p) for p in paths}
    found = []
    with suppress(OSError):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if int(pid) != os.getpid() and _has_open(pid, wanted):
                found.append(f"{_name(pid)} (pid {pid})")
    return found


def in_use(*paths: str) -> str:
    """`in use by cheese (pid 812)`, or that it may be."""
    who = holders(*paths)
    return f"in use by {', '.join(who)}" if who else "in use by another program?"


def _has_open(pid: str, wanted: set[str]) -> bool:
    with suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{fd}") in wanted:
                    return True
    return False


def _name(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as f:
            return f.read().strip()
    except OSError:
        return "a program"
