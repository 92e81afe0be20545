"""People: accounts with a password, what each may see, and the one-time links that invite them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import sqlite3
from dataclasses import dataclass

from agent.clock import Clock
from agent.server.camera import Camera
from agent.server.hashed import sha
from agent.server.index import Index, Tx

MIN_PASSWORD = 10
MAX_PASSWORD = 1000
OWNER, MEMBER, VIEWER, GUEST = "owner", "member", "viewer", "guest"
NAME = re.compile(r"[^\x00-\x1f\x7f<>&\"']{1,60}\Z")
INVITE_NS = 3 * 86_400_000_000_000
MAX_INVITES = 1000


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who was let in.

    `role`: `owner` of the server, `member` with cameras of their own, `viewer` of cameras that were shown to
    them, `guest` by a join link (account 0, sees every camera). `manage` and `camera` narrow it for API tokens.
    """

    account: int
    role: str
    manage: bool = True
    camera: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """One person's row."""

    id: int
    name: str
    role: str

    def as_json(self) -> dict[str, object]:
        return {"id": self.id, "name": self.name, "role": self.role}


class Accounts:
    """Passwords are kept as scrypt hashes; none exists that nobody chose."""

    def __init__(self, index: Index, clock: Clock) -> None:
        self._index = index
        self._clock = clock
        self._accounts: dict[int, Account] = {}
        self._secrets: dict[int, tuple[bytes, bytes]] = {}
        self._grants: dict[int, set[str]] = {}
        self._one = asyncio.Semaphore(1)  # scrypt takes 16 MiB and a core for a while

    async def load(self) -> None:
        """Read the accounts; also whenever another process may have changed them."""

        def read(conn: sqlite3.Connection) -> tuple[list[sqlite3.Row], list[sqlite3.Row]]:
            return conn.execute("SELECT * FROM accounts").fetchall(), conn.execute("SELECT * FROM grants").fetchall()

        accounts, grants = await self._index.read(read)
        self._accounts = {r["id"]: Account(r["id"], r["name"], r["role"]) for r in accounts}
        self._secrets = {r["id"]: (r["salt"], r["hash"]) for r in accounts}
        self._grants = {}
        for r in grants:
            self._grants.setdefault(r["account"], set()).add(r["camera"])

    @property
    def owned(self) -> bool:
        """The server has its owner."""
        return any(a.role == OWNER for a in self._accounts.values())

    def get(self, id_: int) -> Account | None:
        return self._accounts.get(id_)

    def all(self) -> list[Account]:
        return list(self._accounts.values())

    def may(self, who: Who, camera: Camera, manage: bool = False) -> bool:
        """The one place that says who sees a camera, and who may change it."""
        if who.camera not in ("", camera.name):
            return False
        if who.role == GUEST:
            return not manage
        if camera.account == who.account:
            return who.manage or not manage
        return not manage and camera.name in self._grants.get(who.account, ())

    def viewers(self, camera: str) -> list[Account]:
        return [self._accounts[a] for a, names in self._grants.items() if camera in names and a in self._accounts]

    async def create(self, name: str, password: str, role: str) -> Account:
        """Raises ValueError, in words for the person, for a name or password that will not do."""
        name = name.strip()
        if not NAME.match(name):
            raise ValueError("The name needs 1 to 60 letters.")
        _check_password(password)
        salt = secrets.token_bytes(16)
        hashed = await self._hash(password, salt)
        row = (1 if role == OWNER else None, name, role, salt, hashed)
        try:
            id_ = await self._index.write(
                lambda tx: tx.conn.execute("INSERT INTO accounts VALUES (?,?,?,?,?)", row).lastrowid or 0
            )
        except sqlite3.IntegrityError:
            raise ValueError("That name is taken.") from None
        account = self._accounts[id_] = Account(id_, name, role)
        self._secrets[id_] = (salt, hashed)
        return account

    async def check(self, name: str, password: str) -> Account | None:
        """The account, or None; an unknown name takes as long as a wrong password."""
        found = next((a for a in self._accounts.values() if a.name == name.strip()), None)
        salt, expected = self._secrets[found.id] if found else (b"-" * 16, b"")
        if len(password) > MAX_PASSWORD:
            return None
        right = hmac.compare_digest(await self._hash(password, salt), expected)
        return found if right else None

    async def change_password(self, id_: int, old: str, new: str) -> bool:
        """False when the old one is wrong. Raises ValueError for a new one that will not do."""
        account = self._accounts.get(id_)
        if account is None or await self.check(account.name, old) is None:
            return False
        _check_password(new)
        salt = secrets.token_bytes(16)
        hashed = await self._hash(new, salt)
        args = (salt, hashed, id_)
        await self._index.write(
            lambda tx: tx.conn.execute("UPDATE accounts SET salt=?, hash=? WHERE id=?", args).rowcount
        )
        self._secrets[id_] = (salt, hashed)
        return True

    async def remove(self, id_: int) -> None:
        """Delete the account with its sessions, tokens, grants and invitations; its cameras first, by the caller."""

        def run(tx: Tx) -> None:
            tx.conn.execute("DELETE FROM accounts WHERE id=?", (id_,))
            for table in ("sessions", "grants", "links", "tokens", "shares"):
                tx.conn.execute(f"DELETE FROM {table} WHERE account=?", (id_,))

        await self._index.write(run)
        for known in (self._accounts, self._secrets, self._grants):
            known.pop(id_, None)

    async def grant(self, account: int, camera: str) -> None:
        row = (account, camera)
        await self._index.write(lambda tx: tx.conn.execute("INSERT OR IGNORE INTO grants VALUES (?,?)", row).rowcount)
        self._grants.setdefault(account, set()).add(camera)

    async def revoke(self, account: int, camera: str) -> None:
        sql, row = "DELETE FROM grants WHERE account=? AND camera=?", (account, camera)
        await self._index.write(lambda tx: tx.conn.execute(sql, row).rowcount)
        self._grants.get(account, set()).discard(camera)

    def forget(self, camera: str) -> None:
        """The camera is erased; a later one of that name is another."""
        for names in self._grants.values():
            names.discard(camera)

    async def invite(self, by: int, camera: str) -> str:
        """A code that makes one new account within three days: viewer of `camera`, or member with ""."""
        code = secrets.token_urlsafe(16)
        row = (sha(code), "invite", by, camera, self._clock.wall_ns() + INVITE_NS)

        def run(tx: Tx) -> None:
            tx.conn.execute("DELETE FROM links WHERE expires_ns < ?", (self._clock.wall_ns(),))
            if tx.conn.execute("SELECT count(*) FROM links").fetchone()[0] >= MAX_INVITES:
                raise ValueError("there are too many open invitations")
            tx.conn.execute("INSERT INTO links VALUES (?,?,?,?,?)", row)

        await self._index.write(run)
        return code

    async def invited(self, code: str) -> bool:
        """The invitation is open."""
        sql, args = "SELECT 1 FROM links WHERE hash=? AND kind='invite' AND expires_ns>?", (sha(code),)
        now = self._clock.wall_ns()
        return await self._index.read(lambda conn: conn.execute(sql, (*args, now)).fetchone()) is not None

    async def accept(self, code: str, name: str, password: str) -> Account | None:
        """The new account; None when the invitation is used up. Raises ValueError as `create` does."""
        if not await self.invited(code):
            return None
        account = await self.create(name, password, VIEWER)

        def run(tx: Tx) -> sqlite3.Row | None:
            row: sqlite3.Row | None = tx.conn.execute(
                "SELECT camera FROM links WHERE hash=? AND expires_ns>?", (sha(code), self._clock.wall_ns())
            ).fetchone()
            tx.conn.execute("DELETE FROM links WHERE hash=?", (sha(code),))
            if row is not None and not row["camera"]:
                tx.conn.execute("UPDATE accounts SET role=? WHERE id=?", (MEMBER, account.id))
            return row

        row = await self._index.write(run)
        if row is None:  # somebody was faster
            await self.remove(account.id)
            return None
        if row["camera"]:
            await self.grant(account.id, row["camera"])
            return account
        account = self._accounts[account.id] = Account(account.id, account.name, MEMBER)
        return account

    async def _hash(self, password: str, salt: bytes) -> bytes:
        async with self._one:
            return await asyncio.to_thread(_scrypt, password, salt)


def _check_password(password: str) -> None:
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise ValueError(f"The password needs at least {MIN_PASSWORD} characters.")
    if len(set(password)) < 4:
        raise ValueError("The password needs at least 4 different characters.")


def _scrypt(password: str, salt: bytes) -> bytes:
    secret = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=salt, n=2**14, r=8, p=5, maxmem=64 * 1024 * 1024)
