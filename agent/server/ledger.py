"""Which numbers of a spool are settled (stored or declared dropped), as merged ranges; kept for ever."""

from __future__ import annotations

import sqlite3

MAX_SEQ = 2**63 - 2
MAX_RANGES = 1000


def settle(conn: sqlite3.Connection, camera: str, spool: str, first: int, last: int) -> None:
    """Add the closed range to the spool's ranges, joined with those that it touches."""
    rows = conn.execute(
        "SELECT first, last FROM ranges WHERE camera=? AND spool=? AND first<=? AND last>=?",
        (camera, spool, last + 1, first - 1),
    ).fetchall()
    if any(a <= first and last <= b for a, b in rows):
        return
    for a, b in rows:
        conn.execute("DELETE FROM ranges WHERE camera=? AND spool=? AND first=?", (camera, spool, a))
        first, last = min(first, a), max(last, b)
    conn.execute("INSERT INTO ranges VALUES (?,?,?,?)", (camera, spool, first, last))


def unsettled(conn: sqlite3.Connection, camera: str, spool: str, first: int, last: int) -> list[tuple[int, int]]:
    """The closed ranges of `first..last` that are not settled."""
    rows = conn.execute(
        "SELECT first, last FROM ranges WHERE camera=? AND spool=? AND first<=? AND last>=? ORDER BY first",
        (camera, spool, last, first),
    ).fetchall()
    found, at = [], first
    for a, b in rows:
        if a > at:
            found.append((at, int(a) - 1))
        at = int(b) + 1
    return [*found, (at, last)] if at <= last else found


def acks(conn: sqlite3.Connection, camera: str, spool: str) -> tuple[int, list[tuple[int, int]]]:
    """The highest number with no hole below it, and the lowest closed ranges above it."""
    rows = conn.execute(
        "SELECT first, last FROM ranges WHERE camera=? AND spool=? ORDER BY first LIMIT ?",
        (camera, spool, MAX_RANGES),
    ).fetchall()
    ranges = [(int(a), int(b)) for a, b in rows]
    if ranges and ranges[0][0] == 1:
        return ranges[0][1], ranges[1:]
    return 0, ranges
