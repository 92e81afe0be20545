"""Links for the public: one event, or one camera live; they expire, can be revoked and count their views."""

from __future__ import annotations

import secrets
import sqlite3
from dataclasses import dataclass
from typing import Any

from agent.clock import Clock
from agent.server.hashed import sha
from agent.server.index import Index, Tx

MAX_SHARES = 1000


@dataclass(frozen=True, slots=True)
class Share:
    """`event` is the event's id, 0 for the camera's live picture."""

    id: int
    account: int
    camera: str
    event: int
    created_ns: int
    expires_ns: int
    views: int

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "camera": self.camera,
            "event": self.event or None,
            "created_ms": self.created_ns / 1e6,
            "expires_ms": self.expires_ns / 1e6,
            "views": self.views,
        }


class Shares:
    """Kept as SHA-256 of 128 random bits."""

    def __init__(self, index: Index, clock: Clock) -> None:
        self._index = index
        self._clock = clock
        self._revoked: set[int] = set()

    def lasts(self, share: Share) -> bool:
        """What was opened with it may go on."""
        return share.id not in self._revoked and share.expires_ns > self._clock.wall_ns()

    async def create(self, account: int, camera: str, event: int, life_s: float) -> tuple[Share, str]:
        """The share and its path. Raises ValueError when the account has too many."""
        secret = secrets.token_urlsafe(16)
        now = self._clock.wall_ns()
        row = (sha(secret), account, camera, event, now, min(now + round(life_s * 1e9), 2**63 - 1))

        def run(tx: Tx) -> sqlite3.Row:
            tx.conn.execute("DELETE FROM shares WHERE expires_ns<?", (now,))
            if tx.conn.execute("SELECT count(*) FROM shares WHERE account=?", row[1:2]).fetchone()[0] >= MAX_SHARES:
                raise ValueError("there are too many links; revoke some")
            sql = (
                "INSERT INTO shares (hash, account, camera, event, created_ns, expires_ns)"
                " VALUES (?,?,?,?,?,?) RETURNING *"
            )
            made: sqlite3.Row = tx.conn.execute(sql, row).fetchone()
            return made

        return _share(await self._index.write(run)), f"/s/{secret}"

    async def find(self, secret: str, *, count: bool = False) -> Share | None:
        """The share while it lasts; `count` adds a view."""
        args = (sha(secret), self._clock.wall_ns())
        if count:
            sql = "UPDATE shares SET views=views+1 WHERE hash=? AND expires_ns>? RETURNING *"
            row = await self._index.write(lambda tx: tx.conn.execute(sql, args).fetchone())
        else:
            sql = "SELECT * FROM shares WHERE hash=? AND expires_ns>?"
            row = await self._index.read(lambda conn: conn.execute(sql, args).fetchone())
        return _share(row) if row else None

    async def of(self, account: int) -> list[Share]:
        sql, args = (
            "SELECT * FROM shares WHERE account=? AND expires_ns>? ORDER BY id",
            (account, self._clock.wall_ns()),
        )
        return [_share(r) for r in await self._index.read(lambda conn: conn.execute(sql, args).fetchall())]

    async def revoke(self, id_: int, account: int) -> bool:
        """True when it was there and the account's."""
        sql, args = "DELETE FROM shares WHERE id=? AND account=?", (id_, account)
        if gone := await self._index.write(lambda tx: tx.conn.execute(sql, args).rowcount) > 0:
            self._revoked.add(id_)
        return gone


def _share(row: sqlite3.Row) -> Share:
    return Share(*(row[k] for k in ("id", "account", "camera", "event", "created_ns", "expires_ns", "views")))
