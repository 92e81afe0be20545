"""Services in this process, behind TLS, or in a process that takes the descriptor itself."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agent.dispatch import httphead, proxyline
from agent.dispatch.arrival import Arrival, Handed
from agent.dispatch.inner import Factory, Inner
from agent.dispatch.listen import peer_of
from agent.dispatch.peek import http_answer, http_response
from agent.dispatch.records import End
from agent.errors import ConfigError


@dataclass(frozen=True, slots=True)
class InProcess:
    """Any asyncio protocol factory. The protocol reads its bytes from the start, none looked at is missing."""

    factory: Factory
    max_connections: int = 0

    def take(self, arrival: Arrival) -> None:
        arrival.keeper.spawn(self._serve(arrival))

    def take_inner(self, inner: Inner) -> None:
        inner.replay(self.factory())
        if not inner.transport.is_closing():  # asyncio's TLS fails then
            inner.transport.resume_reading()

    async def _serve(self, arrival: Arrival) -> None:
        sock = Handed(arrival)
        try:
            transport, _ = await arrival.keeper.loop.connect_accepted_socket(self._make, sock)
        except OSError:
            arrival.outcome = End.RESET
            sock.close()
            return
        except BaseException:
            arrival.outcome = End.ERROR
            sock.close()
            raise
        arrival.abort = _aborter(arrival, transport)
        if arrival.client != arrival.peer:
            arrival.keeper.name_client(transport, arrival.client)

    def _make(self) -> asyncio.BaseProtocol:
        return self.factory()


def talk_service(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], max_connections: int = 0
) -> InProcess:
    """A coroutine that talks to each connection through asyncio's streams, which it need not close."""

    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    return InProcess(lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(), whole), max_connections)


@dataclass(frozen=True, slots=True)
class Terminate:
    """Ends TLS here; what is inside is judged again by the same routes."""

    context: ssl.SSLContext
    max_connections: int = 0
    handshake_timeout_s: float = 10.0

    def take(self, arrival: Arrival) -> None:
        arrival.keeper.spawn(self._handshake(arrival))

    def take_inner(self, inner: Inner) -> None:
        inner.refuse(b"", End.REFUSED)

    async def _handshake(self, arrival: Arrival) -> None:
        sock = Handed(arrival)
        arrival.outcome = End.RESET
        try:
            transport, _ = await arrival.keeper.loop.connect_accepted_socket(
                lambda: Inner(arrival),
                sock,
                ssl=self.context,
                ssl_handshake_timeout=self.handshake_timeout_s,
                ssl_shutdown_timeout=2.0,
            )
        except (OSError, TimeoutError):
            sock.close()
            return
        arrival.outcome = End.DONE
        arrival.abort = _aborter(arrival, transport)
        if arrival.client != arrival.peer:
            arrival.keeper.name_client(transport, arrival.client)


@dataclass(frozen=True, slots=True)
class Pass:
    """Gives the descriptor to another process over its UNIX socket (SCM_RIGHTS), every byte unread.

    The message beside the descriptor is a PROXY v2 header that names the client.
    """

    path: str
    max_connections: int = 0

    def __post_init__(self) -> None:
        if not self.path:
            raise ConfigError("path is empty")

    def take(self, arrival: Arrival) -> None:
        target = peer_of(arrival.sock.getsockname())
        message = proxyline.build(2, arrival.client, target)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as way:
                way.connect(self.path)
                socket.send_fds(way, [message], [arrival.sock.fileno()])
        except OSError:
            http = bool(arrival.head) and httphead.looks_like_http(arrival.head)
            return arrival.keeper.refuse(arrival, http_answer(502) if http else b"", End.DOWN)
        arrival.sock.close()
        arrival.in_bytes = arrival.out_bytes = None
        arrival.end(End.PASSED)

    def take_inner(self, inner: Inner) -> None:
        inner.refuse(b"", End.ERROR)


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answers HTTP with `status`, closes everything else."""

    status: int = 404
    max_connections: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise ConfigError(f"status {self.status} is no refusal (400 to 599)")

    def take(self, arrival: Arrival) -> None:
        http = bool(arrival.head) and httphead.looks_like_http(arrival.head)
        arrival.keeper.refuse(arrival, http_answer(self.status) if http else b"", End.REFUSED)

    def take_inner(self, inner: Inner) -> None:
        http = bool(inner.held) and httphead.looks_like_http(inner.held)
        inner.refuse(http_answer(self.status) if http else b"", End.REFUSED)


@dataclass(frozen=True, slots=True)
class Metrics:
    """Answers HTTP with the dispatcher's counters, in Prometheus' text format."""

    max_connections: int = field(default=0, init=False)

    def take(self, arrival: Arrival) -> None:
        arrival.keeper.refuse(arrival, self._answer(arrival), End.DONE)

    def take_inner(self, inner: Inner) -> None:
        inner.refuse(self._answer(inner.arrival), End.DONE)

    def _answer(self, arrival: Arrival) -> bytes:
        text = "".join(line + "\n" for line in arrival.keeper.counts.lines())
        return http_response(200, text, "text/plain; version=0.0.4; charset=utf-8")


class _aborter:
    """Ends an in-process connection at the end of a drain."""

    def __init__(self, arrival: Arrival, transport: asyncio.Transport) -> None:
        self._arrival = arrival
        self._transport = transport

    def __call__(self) -> None:
        self._arrival.outcome = End.DRAINED
        self._transport.abort()
