"""How a writer's thread takes its work: what waits meanwhile shares a sync."""

from __future__ import annotations

from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
MAX_JOBS = 64


def waiting(jobs: SimpleQueue[T | None]) -> tuple[list[T], bool]:
    """Wait for a job, and take those that wait behind it, MAX_JOBS at most; True: None was among them, the end."""
    found: list[T] = []
    job = jobs.get()
    while job is not None:
        found.append(job)
        if len(found) >= MAX_JOBS or jobs.empty():
            return found, False
        job = jobs.get()
    return found, True
