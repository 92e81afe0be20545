"""Sessions, single-use links, and the patience that guessing meets."""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Callable
from functools import partial

from agent.clock import Clock
from agent.server.accounts import GUEST, Accounts, Who
from agent.server.hashed import sha
from agent.server.index import Below, Index, Rows, UnavailableError
from agent.server.index.rows import Session

__all__ = ["Links", "Session", "Sessions", "Throttle"]

log = logging.getLogger(__name__)

LIFE_NS = 30 * 86_400_000_000_000
GUEST_LIFE_NS = 7 * 86_400_000_000_000
MAX_SESSIONS = 1000
LINK_NS = 300_000_000_000
MAX_LINKS = 100


class Sessions:
    """Who is logged in. Tokens are 256 random bits, kept only as SHA-256; `durable`: across restarts."""

    def __init__(self, index: Index, accounts: Accounts, clock: Clock, *, durable: bool) -> None:
        self._index = index
        self._accounts = accounts
        self._clock = clock
        self._durable = durable
        self._sessions: dict[bytes, Session] = {}

    async def load(self) -> None:
        now = self._clock.wall_ns()

        def run(rows: Rows) -> list[Session]:
            rows.sessions.remove(expires_ns=Below(now))
            return rows.sessions.find()

        if self._durable:
            self._sessions = {s.hash: s for s in await self._index.write(run)}

    async def open(self, account: int) -> str:
        """A new session; the answer is its token, which is nowhere else."""
        token = secrets.token_urlsafe(32)
        session = Session(sha(token), account, self._clock.wall_ns() + (LIFE_NS if account else GUEST_LIFE_NS))
        while len(self._sessions) >= MAX_SESSIONS:
            await self.close(min(self._sessions.values(), key=lambda s: s.expires_ns))
        self._sessions[session.hash] = session
        if self._durable:
            try:
                await self._index.write(lambda rows: rows.sessions.add(session))
            except (OSError, UnavailableError) as e:  # a full disk is looked at, too
                log.warning("a session is not kept over a restart: %s", e)
        return token

    def find(self, token: str | None) -> Session | None:
        return self._lasting(sha(token)) if token else None

    def holder(self, token: str | None) -> Callable[[], Who | None]:
        """Says at each call whose session it is: None when it has ended, or the account is no more."""
        return partial(self._who, sha(token)) if token else lambda: None

    def _lasting(self, key: bytes) -> Session | None:
        session = self._sessions.get(key)
        return session if session and session.expires_ns > self._clock.wall_ns() else None

    def _who(self, key: bytes) -> Who | None:
        session = self._lasting(key)
        if session is None:
            return None
        if session.account == 0:
            return Who(0, GUEST, manage=False)
        account = self._accounts.get(session.account)
        return Who(account.id, account.role) if account else None

    async def close(self, session: Session) -> None:
        self._sessions.pop(session.hash, None)
        if self._durable:
            await self._index.write(lambda rows: rows.sessions.remove(hash=session.hash))

    async def close_all(self, account: int) -> list[bytes]:
        """Log the account out everywhere; the keys of what was open."""
        gone = [s for s in self._sessions.values() if s.account == account]
        for session in gone:
            await self.close(session)
        return [s.hash for s in gone]


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
        self._joins[sha(code)] = self._clock.monotonic_ns() + LINK_NS
        return code

    def use(self, code: str) -> bool:
        """True once for a code, within its time."""
        until = self._joins.pop(sha(code), None)
        return until is not None and self._clock.monotonic_ns() < until

    def is_setup(self, code: str) -> bool:
        return hmac.compare_digest(sha(code), sha(self.setup))


class Throttle:
    """After three failures an address waits, twice as long each time, a minute at most; forgets after an hour.

    A try is counted before it is known to be wrong; one that was right takes one back. The others stay: who has an
    account of their own could guess at another's without end otherwise.
    """

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
        n, at_ns = self._failures.pop(address, (0, 0))
        if n > 1:
            self._failures[address] = (n - 1, at_ns)
