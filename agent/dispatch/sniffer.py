"""Connections whose first bytes do not settle where they go yet: looked at (MSG_PEEK), never read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from agent.dispatch import httphead, peek
from agent.dispatch.arrival import Arrival, has_ended
from agent.dispatch.browsers import Browsers
from agent.dispatch.claims import Claims
from agent.dispatch.limits import Limits
from agent.dispatch.peek import Decision
from agent.dispatch.records import End

_EAGER_WAKES = 48
_RETRY_S = 0.02


class Sniffer:
    """Waits for first bytes, within bounds, and calls `decided` once for each connection (or `dropped`).

    A connection from an address that `claims` expected at its accept is claimed instead, unless it speaks HTTP.
    One that was made while a browser there asked for something is the browser's: no service may speak first on it, and
    it goes when the deadline comes.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        decided: Callable[[Arrival, Decision], None],
        dropped: Callable[[Arrival, End], None],
        claims: Claims,
        browsers: Browsers,
    ) -> None:
        self._loop = loop
        self.limits = limits
        self._decided = decided
        self._dropped = dropped
        self._claims = claims
        self._browsers = browsers
        self._waiting: dict[str, dict[Arrival, None]] = {}
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def add(self, arrival: Arrival) -> None:
        """Take a fresh connection, or one that begins its next request (`arrival.again`)."""
        arrival.peeked = arrival.wakes = 0
        arrival.expected = not arrival.again and self._claims.expects(arrival.peer.host)
        if arrival.table.eager and not arrival.expected and not arrival.again:
            self._judge(arrival, b"", False, early=True)
        else:
            self._look(arrival)

    def drop_all(self, end: End) -> None:
        for group in list(self._waiting.values()):
            for arrival in list(group):
                self._drop(arrival, end)

    def drop_oldest(self, group: str | None = None) -> None:
        """Make room: the oldest that has said nothing, or else the oldest (of one address)."""
        groups = [self._waiting[group]] if group in self._waiting else list(self._waiting.values())
        everyone = [a for group in groups for a in group]
        if everyone:
            self._drop(min(everyone, key=lambda a: (a.peeked > 0, a.accepted_s)), End.LIMIT)

    def _look(self, arrival: Arrival) -> None:
        try:
            data = arrival.sock.recv(self.limits.peek_bytes, socket.MSG_PEEK)
            eof = not data or (len(data) <= arrival.peeked and has_ended(arrival.sock))
        except (BlockingIOError, InterruptedError):
            return self._wait(arrival)
        except OSError:
            return self._drop(arrival, End.RESET)
        arrival.peeked = max(arrival.peeked, len(data))
        if arrival.again and not data:
            return self._drop(arrival, End.CLIENT)
        self._judge(arrival, data, eof)

    def _judge(
        self,
        arrival: Arrival,
        data: bytes,
        eof: bool,
        *,
        deadline: bool = False,
        silent: bool = False,
        early: bool = False,
    ) -> None:
        table = arrival.table
        decision = peek.decide(
            table.routes,
            data,
            eof,
            deadline,
            arrival.peer,
            silent=silent,
            proxy_from=table.proxy_from if not arrival.again else (),
            cap_bytes=self.limits.peek_bytes,
        )
        if arrival.expected and (data or eof or silent or deadline) and not _speaks_http(data):
            if self._claims.expects(arrival.peer.host):
                if self._settle(arrival, data, eof):
                    self._claims.take(arrival)
                return
            arrival.expected = False
        if decision.kind == "need-more":
            return self._look(arrival) if early else self._wait(arrival)
        if self._settle(arrival, data, eof, decision.skip):
            arrival.decision = decision
            arrival.client = decision.peer if decision.skip else arrival.client
            self._decided(arrival, decision)

    def _wait(self, arrival: Arrival) -> None:
        fresh = arrival.timer is None
        if fresh:
            self._enter(arrival)
        arrival.wakes += 1
        sleepy = arrival.wakes > _EAGER_WAKES or arrival.sock.family == socket.AF_UNIX
        if arrival.peeked and sleepy:
            # UNIX sockets ignore SO_RCVLOWAT, and a client that drips bytes shall not buy a wake with each.
            self._unwatch(arrival)
            arrival.retry = self._loop.call_later(_RETRY_S, self._look, arrival)
            return
        if arrival.peeked:
            arrival.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, arrival.peeked + 1)
        if not arrival.watched:
            arrival.watched = True
            self._loop.add_reader(arrival.sock.fileno(), self._look, arrival)

    def _enter(self, arrival: Arrival) -> None:
        limits, group = self.limits, arrival.peer.group
        if arrival.again:
            arrival.timer = self._loop.call_later(limits.keepalive_s, self._late, arrival)
        elif arrival.expected:
            arrival.timer = self._loop.call_later(limits.claim_silence_s, self._silent, arrival)
        elif arrival.table.by_silence:
            arrival.timer = self._loop.call_at(arrival.accepted_s + limits.silence_s, self._silent, arrival)
        else:
            arrival.timer = self._loop.call_at(arrival.accepted_s + limits.sniff_deadline_s, self._late, arrival)
        if group and len(self._waiting.get(group, ())) >= limits.sniffing_per_address:
            self.drop_oldest(group)
        elif self._number >= limits.sniffing:
            self.drop_oldest()
        self._waiting.setdefault(group, {})[arrival] = None
        self._number += 1

    def _silent(self, arrival: Arrival) -> None:
        limits = self.limits
        due = arrival.accepted_s + limits.silence_s
        early = self._loop.time() + 0.001 < due and arrival.table.by_silence
        if early:
            arrival.timer = self._loop.call_at(due, self._silent, arrival)
        else:
            arrival.timer = self._loop.call_at(arrival.accepted_s + limits.sniff_deadline_s, self._late, arrival)
            arrival.spare = self._browsers.since(arrival.peer.host, arrival.accepted_s - limits.silence_s)
        if arrival.expected or not (early or arrival.spare):
            self._judge(arrival, self._now(arrival), False, silent=not early or arrival.expected)

    def _late(self, arrival: Arrival) -> None:
        if (arrival.again or arrival.spare) and not arrival.peeked:
            return self._drop(arrival, End.IDLE)
        self._judge(arrival, self._now(arrival), False, deadline=True)

    def _now(self, arrival: Arrival) -> bytes:
        try:
            return arrival.sock.recv(self.limits.peek_bytes, socket.MSG_PEEK)
        except OSError:
            return b""

    def _settle(self, arrival: Arrival, data: bytes, eof: bool, skip: int = 0) -> bool:
        """Out of the waiting room, the socket as it was accepted, less a PROXY header of `skip` bytes."""
        lowered = arrival.peeked
        arrival.peeked, arrival.head, arrival.eof = len(data), data[skip:], eof
        self._leave(arrival)
        try:
            if lowered and arrival.wakes:
                arrival.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            if skip:
                arrival.sock.recv(skip)
        except OSError:
            self._dropped(arrival, End.RESET)
            return False
        return True

    def _drop(self, arrival: Arrival, end: End) -> None:
        self._leave(arrival)
        self._dropped(arrival, end)

    def _leave(self, arrival: Arrival) -> None:
        self._unwatch(arrival)
        arrival.looked += arrival.peeked
        if not arrival.again:
            arrival.decide_s = self._loop.time() - arrival.accepted_s
        if arrival.retry:
            arrival.retry.cancel()
            arrival.retry = None
        if arrival.timer:
            arrival.timer.cancel()
            arrival.timer = None
        name = arrival.peer.group
        group = self._waiting.get(name)
        if group is not None and arrival in group:
            del group[arrival]
            self._number -= 1
            if not group:
                del self._waiting[name]

    def _unwatch(self, arrival: Arrival) -> None:
        if arrival.watched:
            arrival.watched = False
            with contextlib.suppress(OSError, ValueError):
                self._loop.remove_reader(arrival.sock.fileno())


def _speaks_http(data: bytes) -> bool:
    return bool(data) and httphead.looks_like_http(data)
