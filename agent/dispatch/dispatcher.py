"""The dispatcher: listeners in, decisions made, services chosen, every connection accounted for."""

from __future__ import annotations

import asyncio
import logging
import socket
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.dispatch import httphead, listen
from agent.dispatch.arrival import Arrival, Service
from agent.dispatch.browsers import Browsers
from agent.dispatch.claims import Claims
from agent.dispatch.flow import COPY_BYTES
from agent.dispatch.inner import Inner
from agent.dispatch.limits import Limits
from agent.dispatch.linger import Lingering
from agent.dispatch.listen import Listener
from agent.dispatch.matchers import Network
from agent.dispatch.peek import Decision, Route, decide, http_answer, without_body
from agent.dispatch.pipes import Pipes
from agent.dispatch.proxyline import Peer
from agent.dispatch.records import Counts, End, Record, log_record, logged
from agent.dispatch.sniffer import Sniffer
from agent.dispatch.table import make_table

log = logging.getLogger(__name__)
_SHORT_AGAIN_S = 60.0


class Dispatcher:
    """One port for several protocols.

    routes: first match wins. services: by the names that the routes use. proxy_from: who may send a PROXY header.
    on_record: told of each connection once it has ended; without it a line is logged.
    Must be made inside the event loop it runs on. Raises ConfigError when routes and services do not fit.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        services: Mapping[str, Service],
        *,
        limits: Limits | None = None,
        proxy_from: Sequence[Network] = (),
        on_record: Callable[[Record], None] | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.counts = Counts()
        self.claims = Claims(self.loop)
        self.browsers = Browsers(self.loop)
        self.limits = limits = limits or Limits()
        self.pipes = Pipes()
        self.buffer = memoryview(bytearray(COPY_BYTES))
        self._table = make_table(routes, services, proxy_from)
        self._on_record = on_record
        self._sniffer = Sniffer(self.loop, limits, self._decided, self._dropped, self.claims, self.browsers)
        self._lingering = Lingering(self.loop, limits)
        self._listeners: list[Listener] = []
        self._active: dict[Arrival, None] = {}
        self._by_group: dict[str, int] = {}
        self._by_service: dict[str, int] = {}
        self._clients: weakref.WeakKeyDictionary[asyncio.BaseTransport, Peer] = weakref.WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._short_said_s = -_SHORT_AGAIN_S

    async def start(self, host: str = "127.0.0.1", port: int = 0, name: str = "main") -> int:
        """Listen on TCP, "" for all addresses; the port that it became. Raises PermanentError."""
        sockets = listen.tcp(host, port)
        for sock in sockets:
            self.listen(sock, name)
        return int(sockets[0].getsockname()[1])

    def start_unix(self, path: Path, mode: int = 0o660, name: str = "unix") -> None:
        """Listen on a UNIX socket. Raises PermanentError."""
        self.listen(listen.unix(path, mode), name)

    def listen(self, sock: socket.socket, name: str, inherited: bool = False) -> Listener:
        """Accept from a listening socket that is there already, until `stop`; the dispatcher closes it."""
        listener = Listener(self.loop, sock, name, self._accepted, self._short, inherited)
        self._listeners.append(listener)
        return listener

    def stop(self, listener: Listener) -> None:
        """Accept no more from this one; its connections go on."""
        self._listeners.remove(listener)
        listener.close()

    def replace(
        self,
        routes: Sequence[Route],
        services: Mapping[str, Service],
        proxy_from: Sequence[Network] = (),
        limits: Limits | None = None,
    ) -> None:
        """New connections go by these; those that are here keep what they started with. Raises ConfigError."""
        self._table = make_table(routes, services, proxy_from)
        if limits:
            self.limits = self._sniffer.limits = self._lingering.limits = limits

    async def close(self, drain_s: float | None = None) -> None:
        """Stop accepting, let running connections end for at most `drain_s`, then end them."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._sniffer.drop_all(End.DRAINED)
        try:
            async with asyncio.timeout(self.limits.drain_s if drain_s is None else drain_s):
                await self._empty.wait()
        except TimeoutError:
            for arrival in list(self._active):
                if arrival.abort:
                    arrival.abort()
        self._lingering.close()
        self.pipes.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for arrival in list(self._active):
            arrival.sock.close()
            self.ended(arrival, End.DRAINED)

    @property
    def connections(self) -> int:
        return len(self._active)

    @property
    def sniffing(self) -> int:
        return len(self._sniffer)

    def client_of(self, transport: asyncio.BaseTransport | None) -> Peer | None:
        """The client behind an in-process connection that a PROXY header spoke for; None when it is the peer."""
        return self._clients.get(transport) if transport else None

    def name_client(self, transport: asyncio.BaseTransport, client: Peer) -> None:
        self._clients[transport] = client

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def again(self, arrival: Arrival) -> None:
        """A request and its answer are through: judge the next one on the same connection."""
        self._leave_service(arrival)
        arrival.abort = None
        arrival.again = True
        self._sniffer.add(arrival)

    def refuse(self, arrival: Arrival, answer: bytes, end: End, linger: bool = False) -> None:
        """Answer in the client's own protocol, if there is an answer, and close without destroying it."""
        if httphead.asks_head(arrival.head):
            answer = without_body(answer)
        arrival.out_bytes = (arrival.out_bytes or 0) + len(answer)
        self._lingering.farewell(arrival.sock, answer, linger)
        self.ended(arrival, end)

    def redecide(self, inner: Inner) -> None:
        """Judge what is inside TLS; `held` are its first bytes."""
        arrival = inner.arrival
        table = arrival.table
        decision = decide(
            table.routes,
            inner.held,
            inner.eof,
            inner.late,
            arrival.client,
            silent=inner.silent,
            cap_bytes=self.limits.peek_bytes,
        )
        if decision.kind == "need-more":
            return
        self._leave_service(arrival)
        arrival.decision = decision
        inner.settle()
        if decision.route is None:
            inner.refuse(decision.answer, End.LATE if decision.late else End.REFUSED)
        elif not self._enter_service(arrival, decision.route.service):
            inner.refuse(http_answer(503) if httphead.looks_like_http(inner.held) else b"", End.LIMIT)
        else:
            table.services[decision.route.service].take_inner(inner)

    def ended(self, arrival: Arrival, end: End) -> None:
        if arrival not in self._active:
            return
        del self._active[arrival]
        if not self._active:
            self._empty.set()
        group = arrival.peer.group
        self._by_group[group] -= 1
        if not self._by_group[group]:
            del self._by_group[group]
        self._leave_service(arrival)
        self.counts.add(arrival.rule, arrival.service, end, arrival.in_bytes or 0, arrival.out_bytes or 0)
        if self._on_record is not None:
            self._on_record(arrival.record(end))
        elif logged():
            log_record(arrival.record(end))

    def _accepted(self, sock: socket.socket, peer: Peer, name: str) -> None:
        self.counts.accepted += 1
        arrival = Arrival(sock, peer, name, self, self._table)
        self._active[arrival] = None
        self._empty.clear()
        group = peer.group
        number = self._by_group[group] = self._by_group.get(group, 0) + 1
        if len(self._active) > self.limits.connections or (group and number > self.limits.connections_per_address):
            self._dropped(arrival, End.LIMIT)
        else:
            self._sniffer.add(arrival)

    def _decided(self, arrival: Arrival, decision: Decision) -> None:
        if decision.route is None:
            end = End.LATE if decision.late else End.LIMIT if decision.rule == "limit" else End.REFUSED
            return self.refuse(arrival, decision.answer, end)
        name = decision.route.service
        if not self._enter_service(arrival, name):
            http = httphead.looks_like_http(arrival.head) if arrival.head else False
            return self.refuse(arrival, http_answer(503) if http else b"", End.LIMIT)
        arrival.table.services[name].take(arrival)

    def _enter_service(self, arrival: Arrival, name: str) -> bool:
        bound, number = arrival.table.services[name].max_connections, self._by_service.get(name, 0)
        if bound and number >= bound:
            return False
        self._by_service[name] = number + 1
        arrival.service, arrival.inside = name, True
        arrival.requests += arrival.again
        return True

    def _leave_service(self, arrival: Arrival) -> None:
        if arrival.inside:
            arrival.inside = False
            self._by_service[arrival.service] -= 1

    def _dropped(self, arrival: Arrival, end: End) -> None:
        arrival.sock.close()
        self.ended(arrival, end)

    def _short(self) -> None:
        self.counts.accept_pauses += 1
        if self.loop.time() - self._short_said_s >= _SHORT_AGAIN_S:
            self._short_said_s = self.loop.time()
            log.warning("out of file descriptors: accepting no connections until some end")
        self._sniffer.drop_oldest()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            log.error("a connection's task failed", exc_info=task.exception())
