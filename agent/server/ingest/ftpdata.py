"""FTP's data connections: one at a time, from or to the control connection's own address only."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

from agent.dispatch.arrival import Arrival, Handed
from agent.dispatch.claims import Claims
from agent.server.ingest.later import Later, nobody
from agent.server.ingest.room import Share

CONNECT_S = 10.0
STALL_S = 30.0
READ_BYTES = 65536
READS = 16
CROWDED = "Your uploads hold too much at once."


class DataError(Exception):
    """The data connection did not come about, or did not come to its end; `code` is the reply."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Opening(Protocol):
    """A data connection that was agreed on."""

    def there(self) -> socket.socket | None:
        """The connection, non-blocking, if it needs no waiting for."""
        ...

    async def connect(self) -> socket.socket:
        """The connection, non-blocking; raises DataError 425."""
        ...

    def close(self) -> None:
        """Not wanted any more."""
        ...


class Waiting(Opening, Protocol):
    """One that the client opens, at `port`."""

    @property
    def port(self) -> int: ...


class Passive:
    """Waits at a port of ours for the client (PASV, EPSV). Others that knock are turned away."""

    def __init__(self, host: str, peer: str, ports: tuple[int, int]) -> None:
        """Raises OSError when no port of the range is free."""
        self._peer = peer
        self._listening = _bind(host, ports)
        self.port = int(self._listening.getsockname()[1])

    def there(self) -> socket.socket | None:
        """It is, as a rule: clients connect before they say what comes."""
        try:
            return self._knocked(*self._listening.accept())
        except OSError:
            return None

    async def connect(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                while True:
                    if (sock := self._knocked(*await loop.sock_accept(self._listening))) is not None:
                        return sock
        except (TimeoutError, OSError):
            raise DataError(425, f"No data connection within {CONNECT_S:g} s.") from None

    def _knocked(self, sock: socket.socket, address: tuple[str, int]) -> socket.socket | None:
        if plain(address[0]) == self._peer:
            sock.setblocking(False)
            return sock
        sock.close()
        return None

    def close(self) -> None:
        self._listening.close()


class Claimed:
    """The client's next connection to the port that everything else comes in at, too (`single_port_ftp`)."""

    def __init__(self, claims: Claims, peer: str, port: int) -> None:
        """Raises OSError when too many are waited for."""
        self.port = port
        self._came: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
        self._claim = claims.add(peer, self._take)
        if self._claim is None:
            raise OSError("too many data connections are waited for")

    def there(self) -> socket.socket | None:
        return None

    async def connect(self) -> socket.socket:
        try:
            async with asyncio.timeout(CONNECT_S):
                sock = await asyncio.shield(self._came)
            self._came = asyncio.get_running_loop().create_future()
            return sock
        except TimeoutError:
            raise DataError(425, f"No data connection within {CONNECT_S:g} s.") from None
        finally:
            self.close()

    def close(self) -> None:
        if self._claim is not None:
            self._claim.cancel()
        if self._came.done():
            self._came.result().close()

    def _take(self, arrival: Arrival) -> None:
        self._came.set_result(Handed(arrival))


class Active:
    """Goes to the client's port (PORT, EPRT), from the control connection's own address."""

    def __init__(self, host: str, peer: str, port: int) -> None:
        self._host = host
        self._target = (peer, port)

    def there(self) -> socket.socket | None:
        return None

    async def connect(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.bind((self._host, 0))
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().sock_connect(sock, self._target)
        except (TimeoutError, OSError):
            sock.close()
            raise DataError(425, "Your data port cannot be reached.") from None
        return sock

    def close(self) -> None:
        pass


def plain(address: str) -> str:
    """An IPv4 address that came through an IPv6 socket, as itself."""
    return address.removeprefix("::ffff:").partition("%")[0]


def _bind(host: str, ports: tuple[int, int]) -> socket.socket:
    low, high = ports
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(low, high + 1):
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            if port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen(4)
            return sock
        except OSError:
            sock.close()
    raise OSError(f"no free port of {low}-{high}")


async def receive(opening: Opening, tls: ssl.SSLContext | None, max_bytes: int, share: Share) -> tuple[bytes, bool]:
    """All that the client sends, and whether it ended in order (not by a reset or a stall).

    Raises DataError: 425 no connection, 450 no room for it now, 552 more than `max_bytes`.
    """
    sock = await opening.connect()
    try:
        if tls is not None:
            return await _receive_tls(sock, tls, max_bytes, share)
        ended = asyncio.Event()
        inflow = Inflow(sock, max_bytes, share, ended.set)
        try:
            await ended.wait()
            return inflow.result()
        finally:
            inflow.stop()
    finally:
        sock.close()


class Inflow:
    """A plain data connection, read in callbacks of the loop; `then` is called at its end, unless it was stopped.

    At the end it lets go of whom it calls, who know it: else each upload left a circle, which only the collector finds.
    """

    def __init__(self, sock: socket.socket, max_bytes: int, share: Share, then: Callable[[], object]) -> None:
        self._sock = sock
        self._max_bytes = max_bytes
        self._grow = share.grow
        self._then = then
        self._loop = asyncio.get_running_loop()
        self._data = bytearray()
        self._in_order = self._crowded = False
        self._stalled = Later(self._end)
        self._stalled.put_off(STALL_S)
        # By its number: the loop words an error for what it does not know, and a socket's words are dear.
        self._loop.add_reader(sock.fileno(), self._read)

    def result(self) -> tuple[bytes, bool]:
        """As `receive`, once, after the end."""
        data, self._data = self._data, bytearray()  # nothing of it stays in this circle of callbacks
        _check(len(data), self._max_bytes)
        if self._crowded:
            raise DataError(450, CROWDED)
        return bytes(data), self._in_order

    def stop(self) -> None:
        """Read no more, and forget what came; the socket stays open."""
        self._leave()
        self._data = bytearray()

    def _read(self) -> None:
        for _ in range(READS):
            try:
                chunk = self._sock.recv(READ_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                return self._end()
            self._data += chunk
            if not chunk or len(self._data) > self._max_bytes:
                self._in_order = True
                return self._end()
            if not self._grow(len(self._data)):
                self._crowded = True
                return self._end()
        self._stalled.put_off(STALL_S)

    def _end(self) -> None:
        then = self._then
        self._leave()
        then()

    def _leave(self) -> None:
        self._then = nobody
        self._stalled.end()
        self._loop.remove_reader(self._sock.fileno())


async def _receive_tls(sock: socket.socket, tls: ssl.SSLContext, max_bytes: int, share: Share) -> tuple[bytes, bool]:
    data = bytearray()
    reader, writer = await _wrap(sock, tls)
    try:
        while True:
            try:
                async with asyncio.timeout(STALL_S):
                    chunk = await reader.read(READ_BYTES)
            except (TimeoutError, OSError):
                return bytes(data), False
            if not chunk:
                return bytes(data), True
            data += chunk
            _check(len(data), max_bytes)
            if not share.grow(len(data)):
                raise DataError(450, CROWDED)
    finally:
        writer.transport.abort()


async def send(opening: Opening, tls: ssl.SSLContext | None, data: bytes) -> None:
    """Send all and end; raises DataError 425, 426."""
    sock = await opening.connect()
    try:
        if tls is None:
            async with asyncio.timeout(STALL_S):
                await asyncio.get_running_loop().sock_sendall(sock, data)
            return
        _, writer = await _wrap(sock, tls)
        writer.write(data)
        async with asyncio.timeout(STALL_S):
            await writer.drain()
            writer.close()
            await writer.wait_closed()
    except (TimeoutError, OSError):
        raise DataError(426, "The data connection was cut.") from None
    finally:
        sock.close()


async def _wrap(sock: socket.socket, tls: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """TLS on the data connection; the server's side of it also where the server connected (RFC 4217, 7)."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=READ_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    try:
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=tls, ssl_handshake_timeout=10.0)
    except (OSError, ConnectionError):
        raise DataError(425, "TLS on the data connection failed.") from None
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _check(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise DataError(552, f"More than {max_bytes} bytes.")
