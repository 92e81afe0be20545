"""Relaying what exists as a transport only (inside TLS): two protocols that write to each other."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from agent.dispatch import framing, httphead
from agent.dispatch.flow import Framing
from agent.dispatch.framing import Malformed
from agent.dispatch.httphead import BadHead, Head
from agent.dispatch.inner import Inner
from agent.dispatch.peek import http_answer, without_body
from agent.dispatch.records import End

if TYPE_CHECKING:
    from agent.dispatch.relay import Relay

_POLL_S = 0.02


class Pair:
    """What the two sides of a relay share: the end, for whichever reason comes first."""

    def __init__(self, inner: Inner, idle_s: float) -> None:
        self.client = Side(self)
        self.backend = Side(self)
        self.client.other, self.backend.other = self.backend, self.client
        self.client.transport = inner.transport
        self.idle_s = idle_s
        self._arrival = inner.arrival
        self._head_only = httphead.asks_head(inner.held)
        self._loop = inner.arrival.keeper.loop
        self._active_s = self._loop.time()
        self._timer = self._loop.call_later(idle_s, self._tick)

    def stir(self) -> None:
        self._active_s = self._loop.time()

    def close(self, end: End, answer: bytes = b"") -> None:
        """Both sides, each after what is written to it has gone out; the first reason stays."""
        self._timer.cancel()
        if self._arrival.outcome is End.DONE:
            self._arrival.outcome = end
        if answer and self.client.transport and not self.backend.moved:
            self.client.transport.write(without_body(answer) if self._head_only else answer)
        for side in (self.client, self.backend):
            if side.transport:
                side.transport.close()

    def _tick(self) -> None:
        due = self._active_s + self.idle_s
        if self._loop.time() >= due:
            self.close(End.IDLE)
        else:
            self._timer = self._loop.call_at(due, self._tick)


class Side(asyncio.Protocol):
    """One end of a relay. What it receives, as far as `framing` lets it, is written to `other`."""

    def __init__(self, pair: Pair) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Side
        self.framing: Framing | None = None
        self.eof = False
        self.moved = 0
        self._pair = pair

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._pair.stir()
        if self.framing is not None:
            try:
                data = data[: self.framing.take(memoryview(data))]
            except Malformed:
                of_client = self is self._pair.client
                return self._pair.close(End.REFUSED if of_client else End.ERROR, http_answer(400 if of_client else 502))
        self.moved += len(data)
        if data and self.other.transport:
            self.other.transport.write(data)
        if self.framing is not None and self.framing.done and self is self._pair.backend:
            self._pair.close(End.DONE)

    def eof_received(self) -> bool:
        self.eof = True
        first = End.CLIENT if self is self._pair.client else End.BACKEND
        if self.other.transport is None or self.other.eof or not self.other.transport.can_write_eof():
            self._pair.close(first)
            return False
        self.other.transport.write_eof()
        return self is self._pair.backend  # asyncio's TLS ends with the client's end in any case

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._pair.close(End.RESET if exc else End.CLIENT if self is self._pair.client else End.BACKEND)

    def pause_writing(self) -> None:
        if self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other.transport:
            self.other.transport.resume_reading()


async def relay(inner: Inner, service: Relay, lead: bytes) -> None:
    """Connect, then let both sides talk; the HTTP modes all mean one request for each connection here."""
    http = service.http in ("close", "framed") or (service.http == "auto" and httphead.looks_like_http(inner.held))
    head = await _whole_head(inner) if http else None
    if http and not isinstance(head, Head):
        status = head.status if isinstance(head, BadHead) else 408 if inner.held else 0
        return inner.refuse(http_answer(status) if status else b"", End.REFUSED)
    pair = Pair(inner, service.answer_timeout_s if isinstance(head, Head) else service.idle_timeout_s)
    if not await _connect(pair.backend, service):
        return pair.close(End.DOWN, http_answer(502) if http else b"")
    if inner.transport.is_closing():
        return pair.close(End.CLIENT)
    assert pair.backend.transport
    pair.backend.transport.write(lead)
    if isinstance(head, Head):
        _one_request(inner, pair, head, service.idle_timeout_s)
    inner.replay(pair.client)
    if not inner.transport.is_closing():
        inner.transport.resume_reading()


async def _whole_head(inner: Inner) -> Head | BadHead | None:
    """The request head; None when none came in time (a rule may not have waited for all of it)."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(framing.HEAD_TIMEOUT_S):
            while True:
                head = httphead.parse(inner.held, inner.eof)
                if isinstance(head, Head | BadHead):
                    return head
                if head is httphead.Unsettled.NOT_HTTP:
                    return BadHead(400, "not HTTP")
                if len(inner.held) >= framing.MAX_HEAD_BYTES:
                    return BadHead(431, "the head is too long")
                if inner.transport.is_closing():
                    return None
                inner.transport.resume_reading()
                await asyncio.sleep(_POLL_S)
    return None


async def _connect(backend: Side, service: Relay) -> bool:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(service.connect_timeout_s):
            if service.path:
                await loop.create_unix_connection(lambda: backend, service.path)
            else:
                await loop.create_connection(lambda: backend, service.host, service.port)
            return True
    return False


def _one_request(inner: Inner, pair: Pair, head: Head, upgraded_idle_s: float) -> None:
    raw, inner.held = inner.held[: head.size], inner.held[head.size :]
    assert pair.backend.transport
    pair.backend.transport.write(raw if head.tokens("upgrade") else framing.with_close(raw))
    response = framing.Response(head)
    pair.client.framing, pair.backend.framing = framing.request_body(head), response

    def switch() -> None:
        pair.client.framing = pair.backend.framing = None
        pair.idle_s = upgraded_idle_s

    response.on_switch = switch
