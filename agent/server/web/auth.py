"""The owner's password, sessions, single-use links, and the patience that guessing meets."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import sqlite3
from dataclasses import dataclass

from agent.clock import Clock
from agent.server.index import Index, Tx

MIN_PASSWORD = 10
MAX_PASSWORD = 1000
OWNER, VIEWER = "owner", "viewer"
LIFE_NS = {OWNER: 30 * 86_400_000_000_000, VIEWER: 7 * 86_400_000_000_000}
MAX_SESSIONS = 1000
LINK_NS = 300_000_000_000
MAX_LINKS = 100


def _sha(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=5, maxmem=64 * 1024 * 1024)


@dataclass(frozen=True, slots=True)
class Session:
    """`key` names it without opening it."""

    key: bytes
    role: str
    expires_ns: int


class Sessions:
    """Who is logged in. Tokens are 256 random bits, kept only as SHA-256; `durable`: across restarts."""

    def __init__(self, index: Index, clock: Clock, *, durable: bool) -> None:
        self._index = index
        self._clock = clock
        self._durable = durable
        self._sessions: dict[bytes, Session] = {}

    async def load(self) -> None:
        now = self._clock.wall_ns()

        def run(tx: Tx) -> list[sqlite3.Row]:
            tx.conn.execute("DELETE FROM sessions WHERE expires_ns < ?", (now,))
            return tx.conn.execute("SELECT * FROM sessions").fetchall()

        if self._durable:
            rows = await self._index.write(run)
            self._sessions = {r["hash"]: Session(r["hash"], r["role"], r["expires_ns"]) for r in rows}

    async def open(self, role: str) -> str:
        """A new session; the answer is its token, which is nowhere else."""
        token = secrets.token_urlsafe(32)
        session = Session(_sha(token), role, self._clock.wall_ns() + LIFE_NS[role])
        while len(self._sessions) >= MAX_SESSIONS:
            await self.close(min(self._sessions.values(), key=lambda s: s.expires_ns))
        self._sessions[session.key] = session
        if self._durable:
            row = (session.key, role, session.expires_ns)
            await self._index.write(lambda tx: tx.conn.execute("INSERT INTO sessions VALUES (?,?,?)", row).rowcount)
        return token

    def find(self, token: str | None) -> Session | None:
        session = self._sessions.get(_sha(token)) if token else None
        return session if session and session.expires_ns > self._clock.wall_ns() else None

    async def close(self, session: Session) -> None:
        self._sessions.pop(session.key, None)
        if self._durable:
            key = (session.key,)
            await self._index.write(lambda tx: tx.conn.execute("DELETE FROM sessions WHERE hash=?", key).rowcount)


class Owner:
    """The one account; its password is chosen by whoever opens the set-up link, there is no default."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._row: tuple[bytes, bytes] | None = None
        self._one = asyncio.Semaphore(1)  # scrypt takes 16 MiB and a core for a while

    async def load(self) -> None:
        rows = await self._index.read(lambda conn: conn.execute("SELECT salt, hash FROM owner").fetchall())
        self._row = (rows[0]["salt"], rows[0]["hash"]) if rows else None

    @property
    def exists(self) -> bool:
        return self._row is not None

    async def set(self, password: str) -> None:
        """Raises ValueError, in words for the person, for a password that will not do."""
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise ValueError(f"The password needs at least {MIN_PASSWORD} characters.")
        if len(set(password)) < 4:
            raise ValueError("The password needs at least 4 different characters.")
        salt = secrets.token_bytes(16)
        row = (salt, await self._hash(password, salt))
        await self._index.write(
            lambda tx: tx.conn.execute("INSERT OR REPLACE INTO owner VALUES (1,?,?,?)", (OWNER, *row)).rowcount
        )
        self._row = row

    async def check(self, password: str) -> bool:
        if self._row is None or len(password) > MAX_PASSWORD:
            return False
        salt, expected = self._row
        return hmac.compare_digest(await self._hash(password, salt), expected)

    async def _hash(self, password: str, salt: bytes) -> bytes:
        async with self._one:
            return await asyncio.to_thread(_scrypt, password, salt)


class Links:
    """Links that open once: to look (five minutes), and to set the server up (until it is)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._joins: dict[bytes, int] = {}
        self.setup = secrets.token_urlsafe(16)

    def join(self) -> str:
        """A new code; the oldest goes when there are too many."""
        while len(self._joins) >= MAX_LINKS:
            del self._joins[next(iter(self._joins))]
        code = secrets.token_urlsafe(12)
        self._joins[_sha(code)] = self._clock.monotonic_ns() + LINK_NS
        return code

    def use(self, code: str) -> bool:
        """True once for a code, within its time."""
        until = self._joins.pop(_sha(code), None)
        return until is not None and self._clock.monotonic_ns() < until

    def is_setup(self, code: str) -> bool:
        return hmac.compare_digest(_sha(code), _sha(self.setup))


class Throttle:
    """After three failures an address waits, twice as long each time, a minute at most; forgets after an hour."""

    FREE, LONGEST_S, MEMORY_NS, MAX = 3, 60, 3600 * 10**9, 1000

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: dict[str, tuple[int, int]] = {}

    def wait_s(self, address: str) -> int:
        """Seconds until this address may try again, 0 for now."""
        n, at_ns = self._failures.get(address, (0, 0))
        if n < self.FREE:
            return 0
        left_ns = at_ns + min(2 ** (n - self.FREE), self.LONGEST_S) * 10**9 - self._clock.monotonic_ns()
        return max(0, int(-(-left_ns // 10**9)))

    def failed(self, address: str) -> None:
        now = self._clock.monotonic_ns()
        n, at_ns = self._failures.pop(address, (0, now))
        while len(self._failures) >= self.MAX:
            del self._failures[next(iter(self._failures))]
        self._failures[address] = (min(n, 60) + 1 if now - at_ns < self.MEMORY_NS else 1, now)

    def succeeded(self, address: str) -> None:
        self._failures.pop(address, None)
