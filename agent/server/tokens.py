"""API tokens: somebody's rights in a program's hands, narrowed, for a time; shown once."""

from __future__ import annotations

import secrets
import sqlite3
from dataclasses import dataclass
from typing import Any

from agent.clock import Clock
from agent.server.accounts import Accounts, Who
from agent.server.hashed import sha
from agent.server.index import Index

PREFIX = "cat_"
MAX_TOKENS = 1000


@dataclass(frozen=True, slots=True)
class Token:
    """`scope` is `read` or `manage`; `camera` narrows it to one, "" is all that the account may see."""

    id: int
    account: int
    name: str
    scope: str
    camera: str
    created_ns: int
    expires_ns: int

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "scope": self.scope,
            "camera": self.camera or None,
            "created_ms": self.created_ns / 1e6,
            "expires_ms": self.expires_ns / 1e6,
        }


class Tokens:
    """Kept as SHA-256 of 256 random bits."""

    def __init__(self, index: Index, accounts: Accounts, clock: Clock) -> None:
        self._index = index
        self._accounts = accounts
        self._clock = clock
        self._tokens: dict[bytes, Token] = {}

    async def load(self) -> None:
        rows = await self._index.read(lambda conn: conn.execute("SELECT * FROM tokens").fetchall())
        self._tokens = {r["hash"]: _token(r) for r in rows}

    async def create(self, account: int, name: str, scope: str, camera: str, life_s: float) -> tuple[Token, str]:
        """The token's row and the token itself, which is nowhere else. Raises ValueError when there are too many."""
        if len(self.of(account)) >= MAX_TOKENS:
            raise ValueError("there are too many tokens; delete some")
        secret = PREFIX + secrets.token_urlsafe(32)
        now = self._clock.wall_ns()
        row = (sha(secret), account, name, scope, camera, now, now + round(life_s * 1e9))
        sql = (
            "INSERT INTO tokens (hash, account, name, scope, camera, created_ns, expires_ns) VALUES (?,?,?,?,?,?,?)"
            " RETURNING *"
        )
        token = _token(await self._index.write(lambda tx: tx.conn.execute(sql, row).fetchone()))
        self._tokens[sha(secret)] = token
        return token, secret

    def of(self, account: int) -> list[Token]:
        return [t for t in self._tokens.values() if t.account == account]

    async def revoke(self, id_: int, account: int) -> bool:
        """True when the account had it."""
        for key, token in list(self._tokens.items()):
            if token.id == id_ and token.account == account:
                await self._index.write(lambda tx: tx.conn.execute("DELETE FROM tokens WHERE id=?", (id_,)).rowcount)
                del self._tokens[key]
                return True
        return False

    def find(self, secret: str) -> Who | None:
        """Whose rights these are; None for a token that is unknown, late or orphaned."""
        token = self._tokens.get(sha(secret)) if secret.startswith(PREFIX) else None
        if token is None or token.expires_ns <= self._clock.wall_ns():
            return None
        account = self._accounts.get(token.account)
        return Who(account.id, account.role, token.scope == "manage", token.camera) if account else None


def _token(row: sqlite3.Row) -> Token:
    return Token(*(row[k] for k in ("id", "account", "name", "scope", "camera", "created_ns", "expires_ns")))
