"""API tokens: somebody's rights in a program's hands, narrowed, for a time; shown once."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial

from agent.clock import Clock
from agent.server.accounts import Accounts, Who
from agent.server.hashed import sha
from agent.server.index import Index, Rows
from agent.server.index.rows import Token

__all__ = ["Token", "Tokens"]

PREFIX = "cat_"
MAX_TOKENS = 1000


class Tokens:
    """Kept as SHA-256 of 256 random bits."""

    def __init__(self, index: Index, accounts: Accounts, clock: Clock) -> None:
        self._index = index
        self._accounts = accounts
        self._clock = clock
        self._tokens: dict[bytes, Token] = {}

    async def load(self) -> None:
        """As `Accounts.load`."""
        self._tokens = {t.hash: t for t in await self._index.write(lambda rows: rows.tokens.find())}

    async def create(self, who: Who, name: str, scope: str, camera: str, life_s: float) -> tuple[Token, str]:
        """The token's row and the token itself, which is nowhere else.

        Raises PermissionError where it would outlive the token that asks for it, ValueError when there are too many, or
        when the camera is gone.
        """
        now = self._clock.wall_ns()
        end_ns = now + round(life_s * 1e9)
        if who.until_ns is not None and end_ns > who.until_ns:
            left_s = max(0, who.until_ns - now) // 10**9
            raise PermissionError(f"a token may not make one that outlives it: life_s may be {left_s} at most")
        if len(self.of(who.account)) >= MAX_TOKENS:
            raise ValueError("there are too many tokens; delete some")
        secret = PREFIX + secrets.token_urlsafe(32)
        row = Token(sha(secret), who.account, name, scope, camera, now, end_ns)

        def run(rows: Rows) -> Token:
            if camera and rows.cameras.get(name=camera) is None:
                raise ValueError("the camera was deleted meanwhile")
            return rows.tokens.add(row)

        token = self._tokens[row.hash] = await self._index.write(run)
        return token, secret

    def of(self, account: int) -> list[Token]:
        return [t for t in self._tokens.values() if t.account == account]

    async def revoke(self, id_: int, account: int) -> bool:
        """True when the account had it."""
        for key, token in list(self._tokens.items()):
            if token.id == id_ and token.account == account:
                await self._index.write(lambda rows: rows.tokens.remove(id=id_))
                self._tokens.pop(key, None)  # another request may have been first
                return True
        return False

    def forget(self, camera: str) -> None:
        """The camera is erased, with its tokens; a later one of that name is another."""
        self._tokens = {h: t for h, t in self._tokens.items() if t.camera != camera}

    def holder(self, secret: str) -> Callable[[], Who | None]:
        """Says at each call whose rights these are: None for a token that is unknown, late or orphaned."""
        return partial(self._who, sha(secret))

    def _who(self, key: bytes) -> Who | None:
        token = self._tokens.get(key)
        if token is None or token.expires_ns <= self._clock.wall_ns():
            return None
        account = self._accounts.get(token.account)
        if account is None:
            return None
        return Who(account.id, account.role, token.scope == "manage", token.camera, token.expires_ns)
