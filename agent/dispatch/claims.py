"""Connections that a service expects on the shared port: FTP's data connections (`single_port_ftp`).

A claim names an address. The next connection from it that stays silent, or begins with bytes that no HTTP client
sends, belongs to the claim. Two devices behind one address can be mistaken for each other: off by default.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from agent.dispatch.arrival import Arrival
from agent.dispatch.peek import Decision

log = logging.getLogger(__name__)
MAX_CLAIMS = 1000
_PER_ADDRESS = 16


class Claim:
    """One expected connection; `cancel()` when it is not wanted any more."""

    __slots__ = ("_cancel", "host", "take", "timer")

    def __init__(self, host: str, take: Callable[[Arrival], None], cancel: Callable[[Claim], None]) -> None:
        self.host = host
        self.take = take
        self.timer: asyncio.TimerHandle | None = None
        self._cancel = cancel

    def cancel(self) -> None:
        self._cancel(self)


class Claims:
    """Outstanding claims by address, first come first served; bounded, each with a time limit."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._by_host: dict[str, deque[Claim]] = {}
        self._number = 0
        self.refused = 0

    def add(self, host: str, take: Callable[[Arrival], None], timeout_s: float = 30.0) -> Claim | None:
        """Expect a connection from `host`; None when too many are outstanding."""
        host = _plain(host)
        waiting = self._by_host.get(host, ())
        if self._number >= MAX_CLAIMS or len(waiting) >= _PER_ADDRESS:
            self.refused += 1
            return None
        claim = Claim(host, take, self._remove)
        claim.timer = self._loop.call_later(timeout_s, claim.cancel)
        self._by_host.setdefault(host, deque()).append(claim)
        self._number += 1
        return claim

    def expects(self, host: str) -> bool:
        return bool(self._by_host) and _plain(host) in self._by_host

    def take(self, arrival: Arrival) -> None:
        """Give the connection to the oldest claim on its address, which must be there."""
        claim = self._by_host[_plain(arrival.peer.host)][0]
        self._remove(claim)
        log.info("connection from %s claimed as expected data connection", arrival.peer)
        arrival.decision = Decision("route", "claim", f"a connection from {arrival.peer.host} was expected")
        arrival.service = "claim"
        claim.take(arrival)

    def _remove(self, claim: Claim) -> None:
        waiting = self._by_host.get(claim.host)
        if waiting is None or claim not in waiting:
            return
        waiting.remove(claim)
        self._number -= 1
        if claim.timer:
            claim.timer.cancel()
        if not waiting:
            del self._by_host[claim.host]


def _plain(host: str) -> str:
    """An address as itself: not inside IPv6, without the name of an interface."""
    return host.removeprefix("::ffff:").partition("%")[0]
