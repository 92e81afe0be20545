"""People: accounts with a password, what each may see, and the one-time links that invite them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from agent.clock import Clock
from agent.server.camera import Camera
from agent.server.erasure import leave_no_copy, scrub
from agent.server.hashed import sha
from agent.server.index import Below, From, Index, Rows, Table, TakenError
from agent.server.index.rows import AccountRow, Grant, Link

MIN_PASSWORD = 10
MAX_PASSWORD = 1000
OWNER, MEMBER, VIEWER, GUEST = "owner", "member", "viewer", "guest"
NAME = re.compile(r"[^\x00-\x1f\x7f<>&\"']{1,60}\Z")
INVITE_NS = 3 * 86_400_000_000_000
MAX_INVITES = 1000
FORGOT_NS = 3_600_000_000_000
LAST_NS = 2**63 - 1  # that an index takes


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who was let in.

    `role`: `owner` of the server, `member` with cameras of their own, `viewer` of cameras that were shown to
    them, `guest` by a join link (account 0, sees every camera). `manage` and `camera` narrow it for API tokens,
    which end at `until_ns`.
    """

    account: int
    role: str
    manage: bool = True
    camera: str = ""
    until_ns: int | None = None

    def within(self, end_ns: int) -> int:
        """When something that they make ends: at `end_ns`, but with the token that makes it at the latest."""
        return min(end_ns, LAST_NS if self.until_ns is None else self.until_ns)


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
        """Read the accounts; also whenever another process may have changed them.

        In turn with what is written: a password or right that changes meanwhile would be back as it was.
        """
        accounts, grants = await self._index.write(lambda rows: (rows.accounts.find(), rows.grants.find()))
        self._accounts = {r.id: Account(r.id, r.name, r.role) for r in accounts}
        self._secrets = {r.id: (r.salt, r.hash) for r in accounts}
        self._grants = {}
        for grant in grants:
            self._grants.setdefault(grant.account, set()).add(grant.camera)

    @property
    def owned(self) -> bool:
        """The server has its owner."""
        return any(a.role == OWNER for a in self._accounts.values())

    def get(self, id_: int) -> Account | None:
        return self._accounts.get(id_)

    def named(self, name: str) -> bool:
        """Somebody is called so."""
        return any(a.name == name.strip() for a in self._accounts.values())

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
        if not NAME.match(name) or not name.isprintable():  # no other name with something invisible in it
            raise ValueError("The name needs 1 to 60 letters.")
        _check_password(password)
        salt = secrets.token_bytes(16)
        hashed = await self._hash(password, salt)
        row = AccountRow(name, role, salt, hashed, 1 if role == OWNER else 0)
        try:
            id_ = (await self._index.write(lambda rows: rows.accounts.add(row))).id
        except TakenError:
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
        return await self._set_password(new, lambda rows: id_) is not None

    async def _set_password(self, new: str, whose: Callable[[Rows], int | None]) -> int | None:
        """`whose` says it within the transaction; the answer is the account, None where there is none."""
        _check_password(new)
        salt = secrets.token_bytes(16)
        hashed = await self._hash(new, salt)

        def run(rows: Rows) -> int | None:
            id_ = whose(rows)
            row = None if id_ is None else rows.accounts.get(id=id_)
            if row is None:
                return None
            rows.accounts.put(replace(row, salt=salt, hash=hashed))
            return row.id

        if (id_ := await self._index.write(run)) is not None:
            self._secrets[id_] = (salt, hashed)
        return id_

    async def forgot(self, name: str) -> tuple[Account, str]:
        """The account of that name, the owner with "", and a code that gives it another password, once, within an hour.

        An earlier code opens nothing more. Raises LookupError, in words for the person, where there is no such account.
        """
        account = next((a for a in self._accounts.values() if (a.name == name if name else a.role == OWNER)), None)
        if account is None:
            raise LookupError(f"nobody is called '{name}' here" if name else "this server has no owner yet")
        code, now = secrets.token_urlsafe(16), self._clock.wall_ns()

        def run(rows: Rows) -> None:
            rows.links.remove(expires_ns=Below(now))
            rows.links.remove(kind="password", account=account.id)
            rows.links.add(Link(sha(code), "password", account.id, "", now + FORGOT_NS))

        await self._index.write(run)
        return account, code

    async def forgetful(self, code: str) -> Account | None:
        """Whose password the code sets; None when it is used up."""
        link = await self._index.read(lambda rows: self._link(rows, code, "password"))
        return None if link is None else self._accounts.get(link.account)

    def _link(self, rows: Rows, code: str, kind: str) -> Link | None:
        """What the code opens, while it does."""
        return rows.links.get(hash=sha(code), kind=kind, expires_ns=From(self._clock.wall_ns() + 1))

    async def remind(self, code: str, new: str) -> Account | None:
        """Use the code; None when it is used up. Raises ValueError, and the code stays, for one that will not do."""

        def whose(rows: Rows) -> int | None:
            link = self._link(rows, code, "password")
            rows.links.remove(hash=sha(code), kind="password")
            return None if link is None else link.account

        id_ = await self._set_password(new, whose)
        return None if id_ is None else self._accounts.get(id_)

    async def remove(self, id_: int) -> None:
        """Delete the account with its sessions, tokens, grants and invitations; its cameras first, by the caller."""

        def run(rows: Rows) -> None:
            rows.accounts.remove(id=id_)
            of_accounts: tuple[Table[Any], ...] = (rows.sessions, rows.grants, rows.links, rows.tokens, rows.shares)
            for table in of_accounts:
                table.remove(account=id_)
            leave_no_copy(rows)

        await self._index.write(run)
        for known in (self._accounts, self._secrets, self._grants):
            known.pop(id_, None)

    async def scrub(self) -> None:
        """No copy of a removed account is left in the store."""
        await scrub(self._index)

    async def revoke(self, account: int, camera: str) -> None:
        await self._index.write(lambda rows: rows.grants.remove(account=account, camera=camera))
        self._grants.get(account, set()).discard(camera)

    def forget(self, camera: str) -> None:
        """The camera is erased; a later one of that name is another."""
        for names in self._grants.values():
            names.discard(camera)

    async def invite(self, by: Who, camera: str) -> str:
        """A code for one account, new or not, within three days: viewer of `camera`, or member with "".

        It ends with the token that makes it, as a link does.
        """
        code = secrets.token_urlsafe(16)
        now = self._clock.wall_ns()
        link = Link(sha(code), "invite", by.account, camera, by.within(now + INVITE_NS))

        def run(rows: Rows) -> None:
            rows.links.remove(expires_ns=Below(now))
            if camera and rows.cameras.get(name=camera) is None:
                raise ValueError("the camera was deleted meanwhile")
            if rows.links.count(kind="invite") >= MAX_INVITES:
                raise ValueError("there are too many open invitations")
            rows.links.add(link)

        await self._index.write(run)
        return code

    async def invited(self, code: str) -> bool:
        """The invitation is open."""
        return await self._index.read(lambda rows: self._link(rows, code, "invite")) is not None

    async def accept(self, code: str, name: str, password: str) -> Account | None:
        """The new account; None when the invitation is used up. Raises ValueError as `create` does."""
        if not await self.invited(code):
            return None
        account = await self.create(name, password, VIEWER)
        if (taken := await self.take_up(code, account)) is None:  # somebody was faster, or the camera is gone
            await self.remove(account.id)
        return taken

    async def take_up(self, code: str, account: Account) -> Account | None:
        """The account with what the invitation gives; None when that is used up.

        Raises ValueError, in words for the person, where it gives nothing, and leaves it for somebody else.
        """

        def run(rows: Rows) -> Link | None:
            link = self._link(rows, code, "invite")
            row = rows.accounts.get(id=account.id)
            camera = rows.cameras.get(name=link.camera) if link and link.camera else None
            if link is None or row is None or (link.camera and camera is None):
                return None
            if camera is not None:
                if camera.account == account.id:
                    raise ValueError("This camera is yours; the link is for somebody else.")
                rows.grants.put(Grant(account.id, link.camera))
            elif row.role != VIEWER:
                raise ValueError("You have cameras of your own already; the link is for somebody else.")
            else:
                rows.accounts.put(replace(row, role=MEMBER))
            rows.links.remove(hash=sha(code))
            return link

        link = await self._index.write(run)
        if link is None:
            return None
        if link.camera:
            self._grants.setdefault(account.id, set()).add(link.camera)
            return account
        account = self._accounts[account.id] = replace(account, role=MEMBER)
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
