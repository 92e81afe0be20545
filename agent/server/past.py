"""Digests of items that retention deleted: so that a late repeat is known, and another content is not taken for it."""

from __future__ import annotations

from agent.server.index import Rows
from agent.server.index.rows import Past

BLOCK = 1000  # items to a row
KEPT = 8  # bytes of each SHA-256; 0 bytes stand for none
NONE = bytes(KEPT)


def remember(rows: Rows, camera: str, spool: str, seq: int, sha256: bytes) -> None:
    """Keep the beginning of the digest for ever: 8 bytes an item."""
    block, at = divmod(seq, BLOCK)
    known = rows.past.get(camera=camera, spool=spool, block=block)
    digests = bytearray(known.digests if known else bytes(BLOCK * KEPT))
    digests[at * KEPT : (at + 1) * KEPT] = _kept(sha256)
    rows.past.put(Past(camera, spool, block, bytes(digests)))


def same(rows: Rows, camera: str, spool: str, seq: int, sha256: bytes) -> bool | None:
    """Whether the item that was stored once had this content; None when there was none."""
    block, at = divmod(seq, BLOCK)
    past = rows.past.get(camera=camera, spool=spool, block=block)
    known = past.digests[at * KEPT : (at + 1) * KEPT] if past else NONE
    return None if known == NONE else known == _kept(sha256)


def numbers(past: Past) -> list[int]:
    """Of which items the block knows that they were stored once."""
    kept = (past.digests[at * KEPT : (at + 1) * KEPT] for at in range(BLOCK))
    return [past.block * BLOCK + at for at, digest in enumerate(kept) if digest != NONE]


def _kept(sha256: bytes) -> bytes:
    kept = sha256[:KEPT]
    return kept if kept != NONE else NONE[:-1] + b"\x01"
