"""Relaying what exists as a transport only (inside TLS): two protocols that write to each other."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from agent.dispatch import framing, httphead
from agent.dispatch.flow import Framing
from agent.dispatch.framing import Malformed
from agent.dispatch.httphead import Head
from agent.dispatch.inner import Inner
from agent.dispatch.peek import http_answer
from agent.dispatch.records import End

if TYPE_CHECKING:
    from agent.dispatch.relay import Relay


class Side(asyncio.Protocol):
    """One end of a relay. What it receives, as far as `framing` lets it, is written to `other`."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None
        self.framing: Framing | None = None
        self.eof = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.framing is not None:
            try:
                data = data[: self.framing.take(memoryview(data))]
            except Malformed:
                return self._give_up()
        if data and self.other and self.other.transport:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.eof = True
        if self.other and self.other.transport:
            if self.other.eof or not self.other.transport.can_write_eof():
                self.other.transport.close()
                return False
            self.other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other and self.other.transport:
            self.other.transport.close()
            self.other.other = None
        self.other = self.transport = None

    def pause_writing(self) -> None:
        if self.other and self.other.transport:
            with contextlib.suppress(RuntimeError):
                self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other.transport:
            with contextlib.suppress(RuntimeError):
                self.other.transport.resume_reading()

    def _give_up(self) -> None:
        if self.transport:
            self.transport.close()


async def relay(inner: Inner, service: Relay, lead: bytes) -> None:
    """Connect, then let both sides talk; the HTTP modes all mean one request for each connection here."""
    inner.transport.pause_reading()
    loop = asyncio.get_running_loop()
    backend = Side()
    try:
        async with asyncio.timeout(service.connect_timeout_s):
            if service.path:
                await loop.create_unix_connection(lambda: backend, service.path)
            else:
                await loop.create_connection(lambda: backend, service.host, service.port)
    except (OSError, TimeoutError):
        http = bool(inner.held) and httphead.looks_like_http(inner.held)
        return inner.refuse(http_answer(502) if http else b"", End.DOWN)
    assert backend.transport
    if inner.transport.is_closing():
        return backend.transport.close()
    client = Side()
    client.other, backend.other = backend, client
    backend.transport.write(lead)
    head = httphead.parse(inner.held, inner.eof) if service.http != "tunnel" else None
    if isinstance(head, Head):
        _one_request(inner, client, backend, head)
    inner.replay(client)
    if not inner.transport.is_closing():
        inner.transport.resume_reading()


def _one_request(inner: Inner, client: Side, backend: Side, head: Head) -> None:
    raw, inner.held = inner.held[: head.size], inner.held[head.size :]
    assert backend.transport
    backend.transport.write(raw if head.tokens("upgrade") else framing.with_close(raw))
    response = framing.Response(head)
    client.framing, backend.framing = framing.request_body(head), response

    def switch() -> None:
        client.framing = backend.framing = None

    response.on_switch = switch
