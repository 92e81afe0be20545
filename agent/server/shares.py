"""Links for the public: one event, or one camera live; they expire, can be revoked and count their views."""

from __future__ import annotations

import secrets
from dataclasses import replace

from agent.clock import Clock
from agent.server.hashed import sha
from agent.server.index import Below, From, Index, Match, Rows
from agent.server.index.rows import Share

__all__ = ["Share", "Shares"]

MAX_SHARES = 1000  # of a camera


class Shares:
    """Kept as SHA-256 of 128 random bits."""

    def __init__(self, index: Index, clock: Clock) -> None:
        self._index = index
        self._clock = clock
        self._revoked: set[int] = set()

    def lasts(self, share: Share) -> bool:
        """What was opened with it may go on."""
        return share.id not in self._revoked and share.expires_ns > self._clock.wall_ns()

    async def create(self, account: int, camera: str, event: int, end_ns: int) -> tuple[Share, str]:
        """The share and its path. Raises ValueError when the camera has too many, or it or the event is gone."""
        secret = secrets.token_urlsafe(16)
        now = self._clock.wall_ns()
        share = Share(sha(secret), account, camera, event, now, end_ns)

        def run(rows: Rows) -> Share:
            rows.shares.remove(expires_ns=Below(now))
            if rows.cameras.get(name=camera) is None:
                raise ValueError("the camera was deleted meanwhile")
            if event and rows.events.get(id=event) is None:
                raise ValueError("the event was deleted meanwhile")
            if rows.shares.count(camera=camera) >= MAX_SHARES:
                raise ValueError("there are too many links of this camera; revoke some")
            return rows.shares.add(share)

        return await self._index.write(run), f"/s/{secret}"

    async def find(self, secret: str, *, count: bool = False) -> Share | None:
        """The share while it lasts; `count` adds a view."""
        late = From(self._clock.wall_ns() + 1)

        def look(rows: Rows) -> Share | None:
            return rows.shares.get(hash=sha(secret), expires_ns=late)

        def view(rows: Rows) -> Share | None:
            if (share := look(rows)) is not None:
                share = replace(share, views=share.views + 1)
                rows.shares.put(share)
            return share

        return await (self._index.write(view) if count else self._index.read(look))

    async def of(self, account: int, camera: str = "") -> list[Share]:
        """The account's, of one camera or (with "") of all."""
        where = _of(account, camera) | {"expires_ns": From(self._clock.wall_ns() + 1)}
        return await self._index.read(lambda rows: rows.shares.find(None, backwards=False, **where))

    async def revoke(self, id_: int, account: int, camera: str = "") -> bool:
        """True when it was there, the account's, and of this camera."""
        where = _of(account, camera) | {"id": id_}
        if gone := await self._index.write(lambda rows: rows.shares.remove(**where)) > 0:
            self._revoked.add(id_)
        return gone


def _of(account: int, camera: str) -> dict[str, Match]:
    return {"account": account, "camera": camera} if camera else {"account": account}
