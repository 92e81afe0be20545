"""Digests of items that retention deleted: so that a late repeat is known, and another content is not taken for it."""

from __future__ import annotations

import sqlite3

BLOCK = 1000  # items to a row
KEPT = 8  # bytes of each SHA-256; 0 bytes stand for none
NONE = bytes(KEPT)


def remember(conn: sqlite3.Connection, camera: str, spool: str, seq: int, sha256: bytes) -> None:
    """Keep the beginning of the digest for ever: 8 bytes an item."""
    block, at = divmod(seq, BLOCK)
    digests = bytearray(_block(conn, camera, spool, block) or bytes(BLOCK * KEPT))
    digests[at * KEPT : (at + 1) * KEPT] = _kept(sha256)
    conn.execute("INSERT OR REPLACE INTO past VALUES (?,?,?,?)", (camera, spool, block, bytes(digests)))


def same(conn: sqlite3.Connection, camera: str, spool: str, seq: int, sha256: bytes) -> bool | None:
    """Whether the item that was stored once had this content; None when there was none."""
    block, at = divmod(seq, BLOCK)
    digests = _block(conn, camera, spool, block)
    known = digests[at * KEPT : (at + 1) * KEPT] if digests else NONE
    return None if known == NONE else known == _kept(sha256)


def _kept(sha256: bytes) -> bytes:
    kept = sha256[:KEPT]
    return kept if kept != NONE else NONE[:-1] + b"\x01"


def _block(conn: sqlite3.Connection, camera: str, spool: str, block: int) -> bytes | None:
    row = conn.execute(
        "SELECT digests FROM past WHERE camera=? AND spool=? AND block=?", (camera, spool, block)
    ).fetchone()
    return bytes(row[0]) if row else None
