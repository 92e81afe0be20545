"""What is inside TLS: the first decrypted bytes are kept, judged, and replayed into the service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent.dispatch import httphead
from agent.dispatch.arrival import Arrival
from agent.dispatch.peek import without_body
from agent.dispatch.records import End


class Inner(asyncio.Protocol):
    """The protocol of a decrypted connection until it is decided; `held` is all that was read."""

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival
        self.held = b""
        self.eof = self.silent = self.late = False
        self.transport: asyncio.Transport
        self._decided = False
        self._made_s = 0.0
        self._timers: list[asyncio.TimerHandle] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        loop, limits = self.arrival.keeper.loop, self.arrival.keeper.limits
        self._made_s = loop.time()
        self._timers = [
            loop.call_later(limits.silence_s, self._silence),
            loop.call_later(limits.sniff_deadline_s, self._deadline),
        ]

    def data_received(self, data: bytes) -> None:
        self.held += data
        if not self._decided:
            self.arrival.looked = len(self.held)
            self.arrival.keeper.redecide(self)

    def eof_received(self) -> None:
        """TLS in asyncio knows no half-close: the connection ends with this."""
        self.eof = True
        if not self._decided:
            self.arrival.keeper.redecide(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._decided = True
        self._stop_timers()
        if exc:
            self.arrival.outcome = End.RESET

    def settle(self) -> None:
        """Decided (or gone): the timers have nothing to say any more."""
        self._decided = True
        self.transport.pause_reading()
        self._stop_timers()

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def refuse(self, answer: bytes, end: End) -> None:
        self.arrival.outcome = end
        self.transport.write(without_body(answer) if httphead.asks_head(self.held) else answer)
        self.transport.close()

    def replay(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the connection to `protocol` as if it had had it from the first byte."""
        transport, data, self.held = self.transport, self.held, b""
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        while data and not transport.is_closing():
            data = data[feed(transport.get_protocol(), data) :]
        if self.eof and not transport.is_closing():
            keep = getattr(transport.get_protocol(), "eof_received", lambda: None)()
            if not keep:
                transport.close()

    def _silence(self) -> None:
        keeper = self.arrival.keeper
        if keeper.browsers.since(self.arrival.peer.host, self._made_s - keeper.limits.silence_s):
            return  # a browser's, as outside TLS
        self.silent = True
        keeper.redecide(self)

    def _deadline(self) -> None:
        self.late = True
        self.arrival.keeper.redecide(self)


def feed(protocol: asyncio.BaseProtocol, data: bytes) -> int:
    """Bytes of `data` that the protocol took: all of them, or what a BufferedProtocol has room for."""
    if isinstance(protocol, asyncio.BufferedProtocol):
        room = memoryview(protocol.get_buffer(len(data))).cast("B")
        count = min(len(room), len(data))
        room[:count] = data[:count]
        protocol.buffer_updated(count)
        return count
    assert isinstance(protocol, asyncio.Protocol)
    protocol.data_received(data)
    return len(data)


Factory = Callable[[], asyncio.BaseProtocol]
