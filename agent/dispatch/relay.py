"""The service that relays to another process, over TCP or a UNIX socket."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agent.dispatch import framing, httphead, proxyline, streams
from agent.dispatch.arrival import Arrival, has_ended
from agent.dispatch.httphead import BadHead, Head, Unsettled
from agent.dispatch.inner import Inner
from agent.dispatch.listen import peer_of
from agent.dispatch.peek import http_answer
from agent.dispatch.records import End
from agent.dispatch.tunnel import Exchange, Tunnel
from agent.errors import ConfigError

_POLL_S = 0.02

Addresses = Sequence[tuple[int, str | tuple[str, int]]]


@dataclass(frozen=True, slots=True)
class Relay:
    """A backend at host and port, or at a UNIX socket's path.

    http: `tunnel` carries bytes until an end. `close` tells the backend that one request is all, and ends with
    its answer. `framed` follows requests and answers and has each next request judged anew, so that a connection
    may change its service. `auto` is `close` for HTTP and `tunnel` for the rest.
    proxy_out: the version of the PROXY header sent first, 0 for none.
    idle_timeout_s: without a byte either way, in a tunnel or after an upgrade; answer_timeout_s: the same while a
    request and its answer are under way; half_closed_s: the same once one side has ended.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    http: Literal["auto", "close", "framed", "tunnel"] = "auto"
    proxy_out: Literal[0, 1, 2] = 0
    connect_timeout_s: float = 2.0
    idle_timeout_s: float = 3600.0
    answer_timeout_s: float = 60.0
    half_closed_s: float = 60.0
    splice: bool = True
    max_connections: int = 0

    def __post_init__(self) -> None:
        if bool(self.path) == bool(self.host and self.port):
            raise ConfigError("give either host and port, or path (a UNIX socket)")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port {self.port} is not between 1 and 65535")
        for name in ("connect_timeout_s", "idle_timeout_s", "answer_timeout_s", "half_closed_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be more than 0")

    def take(self, arrival: Arrival) -> None:
        if self.http == "tunnel":
            return self._open(arrival, Tunnel(arrival, self, self._lead(arrival)))
        head = httphead.parse(arrival.head, arrival.eof)
        if isinstance(head, Head):
            return self._exchange(arrival, head)
        if self.http == "auto" and not httphead.looks_like_http(arrival.head):
            return self._open(arrival, Tunnel(arrival, self, self._lead(arrival)))
        arrival.keeper.spawn(self._read_head(arrival))

    def take_inner(self, inner: Inner) -> None:
        inner.arrival.keeper.spawn(streams.relay(inner, self, self._lead(inner.arrival)))

    def addresses(self) -> Addresses | None:
        """Where to connect; None when the name must be looked up."""
        return [(socket.AF_UNIX, self.path)] if self.path else _numeric(self.host, self.port)

    def _open(self, arrival: Arrival, tunnel: Tunnel) -> None:
        addresses = self.addresses()
        if addresses is None:
            arrival.keeper.spawn(self._look_up(arrival.keeper.loop, tunnel))
        else:
            tunnel.open(addresses)

    async def _look_up(self, loop: asyncio.AbstractEventLoop, tunnel: Tunnel) -> None:
        try:
            found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError:
            found = []
        tunnel.open([(family, (str(address[0]), int(address[1]))) for family, _, _, _, address in found])

    def _lead(self, arrival: Arrival) -> bytes:
        if not self.proxy_out:
            return b""
        return proxyline.build(self.proxy_out, arrival.client, peer_of(arrival.sock.getsockname()))

    def _exchange(self, arrival: Arrival, head: Head) -> None:
        raw = arrival.head[: head.size]
        framed = self.http == "framed"
        sent = raw if framed or head.tokens("upgrade") else framing.with_close(raw)
        exchange = Exchange(
            framing.request_body(head), framing.Response(head), head.size, framed and framing.keeps_alive(head)
        )
        self._open(arrival, Tunnel(arrival, self, self._lead(arrival) + sent, exchange))

    async def _read_head(self, arrival: Arrival) -> None:
        """A head longer than the peek cap, or one that a rule did not wait for: see all of it first."""
        keeper = arrival.keeper
        try:
            async with asyncio.timeout(framing.HEAD_TIMEOUT_S):
                while True:
                    eof = has_ended(arrival.sock)
                    arrival.head = _peeked(arrival.sock)
                    head = httphead.parse(arrival.head, eof)
                    if head is not Unsettled.MORE or len(arrival.head) >= framing.MAX_HEAD_BYTES:
                        break
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            return keeper.refuse(arrival, http_answer(408), End.LATE)
        except OSError:
            arrival.sock.close()
            return arrival.end(End.RESET)
        if isinstance(head, Head):
            self._exchange(arrival, head)
        elif isinstance(head, BadHead):
            keeper.refuse(arrival, http_answer(head.status, head.why), End.REFUSED)
        elif head is Unsettled.MORE:
            keeper.refuse(arrival, http_answer(431), End.REFUSED)
        else:
            keeper.refuse(arrival, b"", End.REFUSED)


@functools.lru_cache(1024)
def _numeric(host: str, port: int) -> Addresses | None:
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    return ((socket.AF_INET if version == 4 else socket.AF_INET6, (host, port)),)


def _peeked(sock: socket.socket) -> bytes:
    try:
        return sock.recv(framing.MAX_HEAD_BYTES, socket.MSG_PEEK)
    except BlockingIOError:
        return b""
