"""Which numbers of a spool are settled (stored or declared dropped), as merged ranges; kept for ever."""

from __future__ import annotations

from agent.server.index import Below, From, Rows
from agent.server.index.rows import Span

MAX_SEQ = 2**63 - 2
MAX_RANGES = 1000


def near(rows: Rows, camera: str, spool: str, first: int, last: int) -> list[Span]:
    """The spool's ranges that hold some of these numbers, or end beside them."""
    below = min(last + 2, MAX_SEQ + 1)
    return rows.settled.find(camera=camera, spool=spool, first=Below(below), last=From(first - 1))


def holds(near: list[Span], seq: int) -> bool:
    """Whether the number is settled: of one that is not, nothing was ever stored."""
    return any(s.first <= seq <= s.last for s in near)


def settle(rows: Rows, camera: str, spool: str, first: int, last: int, near: list[Span]) -> None:
    """Add the closed range to the spool's ranges, joined with those that are `near` it."""
    if any(s.first <= first and last <= s.last for s in near):
        return
    first, last = min([first, *(s.first for s in near)]), max([last, *(s.last for s in near)])
    for span in near:
        if span.first != first:
            rows.settled.remove(camera=camera, spool=spool, first=span.first)
    if near and near[0].first == first:
        rows.settled.change(near[0], last=last)
    else:
        rows.settled.add(Span(camera, spool, first, last))


def unsettled(rows: Rows, camera: str, spool: str, first: int, last: int) -> list[tuple[int, int]]:
    """The closed ranges of `first..last` that are not settled."""
    found, at = [], first
    for span in rows.settled.find(camera=camera, spool=spool, first=Below(last + 1), last=From(first)):
        if span.first > at:
            found.append((at, span.first - 1))
        at = span.last + 1
    return [*found, (at, last)] if at <= last else found


def acks(rows: Rows, camera: str, spool: str) -> tuple[int, list[tuple[int, int]]]:
    """The highest number with no hole below it, and the lowest closed ranges above it."""
    ranges = [(s.first, s.last) for s in rows.settled.find(MAX_RANGES, camera=camera, spool=spool)]
    if ranges and ranges[0][0] == 1:
        return ranges[0][1], ranges[1:]
    return 0, ranges
