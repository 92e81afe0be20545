"""A connection relayed to another process: connect, carry both ways, end when both ways have ended."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.dispatch import httphead
from agent.dispatch.arrival import Arrival
from agent.dispatch.flow import Flow
from agent.dispatch.framing import Body, Malformed, Response
from agent.dispatch.peek import http_answer, without_body
from agent.dispatch.records import End

if TYPE_CHECKING:
    from agent.dispatch.relay import Relay

_UNIX_RETRY_S = 0.01
_NOT_CONNECTED = (errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP request and its answer, and nothing after them. `again`: the connection may go on to a next one."""

    request: Body
    response: Response
    head_bytes: int
    again: bool


class Tunnel:
    """Relays `arrival` to `addresses`, tried in order. `lead` is sent first; it is not the client's."""

    __slots__ = (
        "_active_s", "_addresses", "_arrival", "_backend", "_down", "_exchange", "_first", "_loop",
        "_opened", "_over", "_relay", "_timer", "_up",
    )  # fmt: skip

    def __init__(self, arrival: Arrival, relay: Relay, lead: bytes, exchange: Exchange | None = None) -> None:
        keeper = arrival.keeper
        self._loop = keeper.loop
        self._arrival = arrival
        self._relay = relay
        self._exchange = exchange
        self._backend: socket.socket | None = None
        self._opened = False
        self._over = False
        self._first: End | None = None
        pipes = keeper.pipes if relay.splice else None
        self._up = Flow(self._loop, keeper.buffer, pipes, self._stir, self._ended, self._broken)
        self._down = Flow(self._loop, keeper.buffer, pipes, self._stir, self._ended, self._broken)
        self._up.src = self._down.dst = arrival.sock
        self._up.rest = lead
        self._active_s = self._loop.time()
        arrival.abort = self._abort
        self._timer = self._loop.call_later(relay.connect_timeout_s, self._tick)

    def open(self, addresses: Sequence[tuple[int, str | tuple[str, int]]]) -> None:
        """Connect to the first address that takes us; [] when there is none."""
        self._addresses = list(addresses)
        self._connect_next()

    def _connect_next(self) -> None:
        while self._addresses and not self._over:
            family, address = self._addresses.pop(0)
            try:
                sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            except OSError:
                continue
            error = sock.connect_ex(address)
            if error in (0, errno.EINPROGRESS):
                if family != socket.AF_UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                return self._connecting(sock)
            sock.close()
            if error == errno.EAGAIN:
                # A UNIX listener with a full backlog: the connect timer bounds the tries.
                self._addresses.insert(0, (family, address))
                self._loop.call_later(_UNIX_RETRY_S, self._connect_next)
                return
        if not self._over:
            self._close(End.DOWN)

    def _connecting(self, sock: socket.socket) -> None:
        self._backend = sock
        self._up.dst = self._down.src = sock
        self._down.start()
        if self._over:
            return
        self._take_first_bytes()
        if not self._over:
            self._up.start()

    def _take_first_bytes(self) -> None:
        """What was peeked is there: fetch it now and send it along with the lead."""
        head, exchange = self._arrival.head, self._exchange
        self._arrival.head = b""
        try:
            self._fetch(head, exchange)
        except OSError:
            self._close(End.RESET)

    def _fetch(self, head: bytes, exchange: Exchange | None) -> None:
        if exchange is not None and not self._up.framing:
            self._arrival.sock.recv(exchange.head_bytes)
            self._up.moved += exchange.head_bytes
            self._up.framing, self._down.framing = exchange.request, exchange.response
            exchange.response.on_switch = self._switch
        elif head and exchange is None:
            got = self._arrival.sock.recv(len(head))
            self._up.moved += len(got)
            self._up.rest += got

    def _stir(self) -> None:
        self._active_s = self._loop.time()

    def _tick(self) -> None:
        """The timer: first the bound on connecting, then on idleness."""
        if not self._opened:
            self._opened = self._is_connected()
            if not self._opened:
                return self._close(End.DOWN)
        idle_s = self._relay.answer_timeout_s if self._exchange else self._relay.idle_timeout_s
        due = self._active_s + (self._relay.half_closed_s if self._first else idle_s)
        if self._loop.time() >= due:
            return self._close(End.IDLE)
        self._timer = self._loop.call_at(due, self._tick)

    def _is_connected(self) -> bool:
        if self._backend is None:
            return False
        try:
            self._backend.getpeername()
        except OSError:
            return False
        return True

    def _ended(self, flow: Flow) -> None:
        if self._exchange is not None and self._exchange_goes_on(flow):
            return
        if self._first is None:
            self._first = End.CLIENT if flow is self._up else End.BACKEND
            if self._opened:
                self._timer.cancel()
                self._timer = self._loop.call_later(self._relay.half_closed_s, self._tick)
        if self._up.ended and self._down.ended:
            return self._close(self._first)
        with contextlib.suppress(OSError):
            flow.dst.shutdown(socket.SHUT_WR)

    def _exchange_goes_on(self, flow: Flow) -> bool:
        """Whether the exchange has dealt with the end of a direction by itself."""
        exchange = self._exchange
        assert exchange is not None
        response = exchange.response
        if flow is self._up:
            if flow.eof and not exchange.request.done:
                self._close(End.CLIENT)
            # The request is through; the answer decides the rest.
            return True
        self._close_exchange(exchange, response)
        return True

    def _close_exchange(self, exchange: Exchange, response: Response) -> None:
        if not response.done and not response.ends_with_connection and self._down.moved == 0:
            return self._close(End.DOWN)
        whole = response.done and exchange.request.done
        if whole and exchange.again and response.keep_alive:
            return self._close(None)
        self._close(End.DONE if response.done or response.ends_with_connection else End.BACKEND)

    def _switch(self) -> None:
        """The backend agreed to an upgrade: from here on bytes are bytes."""
        self._exchange = None
        self._up.framing = self._down.framing = None
        if self._up.ended:
            self._up.ended = False
            self._up.start()

    def _broken(self, flow: Flow, from_src: bool, error: OSError | Malformed) -> None:
        at_backend = (flow is self._down) == from_src
        if isinstance(error, Malformed):
            if at_backend:
                return self._close(End.DOWN if self._down.moved == 0 else End.ERROR)
            return self._close(End.REFUSED)
        if at_backend and not self._opened and error.errno in _NOT_CONNECTED:
            return self._retry()
        unanswered = at_backend and self._exchange is not None and self._down.moved == 0
        self._close(End.DOWN if unanswered else End.RESET)

    def _retry(self) -> None:
        """The backend refused us before a byte passed: go on to its next address."""
        self._up.pause()
        self._down.pause()
        if self._backend:
            self._backend.close()
            self._backend = None
        self._connect_next()

    def _abort(self) -> None:
        self._close(End.DRAINED)

    def _close(self, end: End | None) -> None:
        """End both ways. None: the client's connection goes on to its next request."""
        if self._over:
            return
        self._over = True
        self._timer.cancel()
        self._up.stop()
        self._down.stop()
        if self._exchange:
            self._exchange.response.on_switch = None
        if self._backend:
            self._backend.close()
        arrival, keeper = self._arrival, self._arrival.keeper
        arrival.in_bytes = (arrival.in_bytes or 0) + self._up.moved
        arrival.out_bytes = (arrival.out_bytes or 0) + self._down.moved
        if end is None:
            keeper.again(arrival)
        elif end in (End.DOWN, End.REFUSED) and self._down.moved == 0:
            answer = http_answer(502 if end is End.DOWN else 400) if self._speaks_http() else b""
            exchange = self._exchange
            head_only = exchange.response.no_body if exchange else httphead.asks_head(self._up.rest)
            keeper.refuse(arrival, without_body(answer) if head_only else answer, end)
        elif self._exchange is not None:
            keeper.refuse(arrival, b"", end, linger=True)
        else:
            arrival.sock.close()
            arrival.end(end)

    def _speaks_http(self) -> bool:
        return bool(self._exchange or (self._up.rest and httphead.looks_like_http(self._up.rest)))
