"""A connection on its way: accepted, looked at, and owned by one service at a time until its record is written."""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from agent.dispatch.peek import Decision
from agent.dispatch.proxyline import Peer
from agent.dispatch.records import Counts, End, Record

if TYPE_CHECKING:
    from agent.dispatch.browsers import Browsers
    from agent.dispatch.inner import Inner
    from agent.dispatch.limits import Limits
    from agent.dispatch.pipes import Pipes
    from agent.dispatch.table import Table

# struct tcp_info of linux/tcp.h: bytes_received, notsent_bytes, bytes_sent, bytes_retrans. The kernel counts the
# other end's FIN as a byte received: states TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING.
_RECEIVED, _NOT_SENT, _SENT, _RETRANS, _INFO_BYTES = 128, 144, 200, 208, 216
_AFTER_FIN = (6, 7, 8, 9, 11)


class Keeper(Protocol):
    """The dispatcher, as a service sees it."""

    loop: asyncio.AbstractEventLoop
    limits: Limits
    counts: Counts
    pipes: Pipes
    browsers: Browsers
    buffer: memoryview

    def ended(self, arrival: Arrival, end: End) -> None: ...

    def again(self, arrival: Arrival) -> None: ...

    def refuse(self, arrival: Arrival, answer: bytes, end: End, linger: bool = False) -> None: ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...

    def name_client(self, transport: asyncio.BaseTransport, client: Peer) -> None: ...

    def redecide(self, inner: Inner) -> None: ...


class Service(Protocol):
    """A way to serve connections.

    `take` and `take_inner` own the connection from then on, never block, and see to it that `arrival.end` is
    called once the socket is closed. `max_connections` 0: no bound of its own.
    """

    @property
    def max_connections(self) -> int: ...

    def take(self, arrival: Arrival) -> None:
        """A socket on which every byte is still to be read."""
        ...

    def take_inner(self, inner: Inner) -> None:
        """A connection that exists as a transport only (inside TLS), with the bytes read so far."""
        ...


class Arrival:
    """`sock` is non-blocking and `head` holds what was peeked from it (nothing of it is read)."""

    __slots__ = (
        "abort", "accepted_s", "again", "client", "decide_s", "decision", "eof", "expected", "head", "in_bytes",
        "inside", "keeper", "listener", "looked", "out_bytes", "outcome", "peeked", "peer", "requests", "retry",
        "service", "sock", "spare", "table", "timer", "wakes", "watched",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, peer: Peer, listener: str, keeper: Keeper, table: Table) -> None:
        self.sock = sock
        self.peer = self.client = peer
        self.listener = listener
        self.keeper = keeper
        self.table = table
        self.accepted_s = keeper.loop.time()
        self.decide_s = 0.0
        self.decision: Decision | None = None
        self.service = ""
        self.head = b""
        self.eof = False
        self.again = False
        self.expected = self.inside = self.spare = False
        self.requests = 1
        self.outcome = End.DONE
        self.in_bytes: int | None = 0
        self.out_bytes: int | None = 0
        self.abort: Callable[[], None] | None = None
        self.looked = self.peeked = 0
        self.wakes = 0
        self.watched = False
        self.timer: asyncio.TimerHandle | None = None
        self.retry: asyncio.TimerHandle | None = None

    def end(self, end: End) -> None:
        """The socket is closed; say how it came to that. Later calls count for nothing."""
        self.abort = None
        self.keeper.ended(self, end)

    @property
    def rule(self) -> str:
        return self.decision.rule if self.decision else "none"

    def record(self, end: End) -> Record:
        decision = self.decision
        return Record(
            self.listener,
            str(self.peer),
            str(self.client),
            self.rule,
            self.service,
            decision.why if decision else "",
            self.requests,
            self.looked,
            round(self.decide_s * 1e3, 3),
            self.in_bytes,
            self.out_bytes,
            round((self.keeper.loop.time() - self.accepted_s) * 1e3, 3),
            end,
        )


class Handed(socket.socket):
    """A socket given to an asyncio transport: closing it ends the arrival, whoever closes it."""

    def __init__(self, arrival: Arrival) -> None:
        old = arrival.sock
        super().__init__(old.family, old.type, old.proto, fileno=old.detach())
        self.setblocking(False)
        self._arrival: Arrival | None = arrival
        arrival.sock = self

    def close(self) -> None:
        arrival, self._arrival = self._arrival, None
        if arrival:
            arrival.in_bytes, arrival.out_bytes = wire_bytes(self)
        super().close()
        if arrival:
            arrival.end(arrival.outcome)


def has_ended(sock: socket.socket) -> bool:
    """Whether the other end has shut down its side, unread bytes or not. Raises ConnectionResetError after a reset."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    happened = poll.poll(0)
    if happened and happened[0][1] & select.POLLERR:
        raise ConnectionResetError
    return bool(happened)


def wire_bytes(sock: socket.socket) -> tuple[int | None, int | None]:
    """Bytes received and sent on a TCP socket, by the kernel's own count; None where there is none.

    After a reset the first may be one short.
    """
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except OSError:
        return None, None
    if len(info) < _INFO_BYTES:
        return None, None
    received, sent, retrans = (struct.unpack_from("=Q", info, at)[0] for at in (_RECEIVED, _SENT, _RETRANS))
    waiting = struct.unpack_from("=I", info, _NOT_SENT)[0]
    return max(received - (info[0] in _AFTER_FIN), 0), sent - retrans + waiting
