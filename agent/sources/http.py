"""A small lenient HTTP client for cameras: one request a connection, the body received in place."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import parse_qsl, quote, unquote, urljoin, urlsplit

from agent.errors import AgentError, PermanentError, TransientError
from agent.media.jpeg import TooLarge

MAX_HEAD_BYTES = 16 * 1024
MAX_LOWAT_BYTES = 1024 * 1024
DEFAULT_PORTS = {"http": 80, "https": 443}
RTSP_PORTS = {"rtsp": 554, "rtsps": 322}
_PORTS = DEFAULT_PORTS | RTSP_PORTS

_HEAD_END = re.compile(rb"\n\r?\n")
_STATUS = re.compile(r"\S+\s+(\d{3})(?:\s+(.*))?$")
_SECRET_KEY = re.compile(r"(?i)us(e?)r|pw|pass|token|key|auth|login|secret|sid|account")


@dataclass(frozen=True, slots=True)
class Url:
    """An http, https or RTSP address; `target` is path and query as they are sent, credentials are apart."""

    scheme: str
    host: str
    port: int
    target: str
    username: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str, ports: Mapping[str, int] = DEFAULT_PORTS) -> Url:
        """`ports`: which schemes it may have. Raises ValueError, without the text (it may hold a password)."""
        parts = urlsplit(text.strip())
        scheme = parts.scheme.lower()
        if scheme not in ports:
            raise ValueError(f"not an address that begins with {' or '.join(f'{p}://' for p in ports)}")
        if not parts.hostname:
            raise ValueError("an address without a host")
        try:
            port = parts.port
        except ValueError:
            raise ValueError("the port is not a number from 1 to 65535") from None
        if re.search(r"[\x00-\x1f\x7f]", text.strip()):
            raise ValueError("an address with a control character")
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{parts.query}" if parts.query else "")
        if re.search(r"[\x00-\x20\x7f]", target + parts.hostname):
            raise ValueError("an address with a space or a control character")
        name, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(scheme, parts.hostname, port or ports[scheme], target, name, password)

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def label(self) -> str:
        """The address for people: no credentials, and none in its query either."""
        path, _, query = self.target.partition("?")
        shown = []
        for pair in query.split("&") if query else ():
            key, sep, _value = pair.partition("=")
            shown.append(f"{key}=…" if sep and _SECRET_KEY.search(key) else pair)
        return f"{self.scheme}://{self.authority}{path}" + ("?" + "&".join(shown) if shown else "")

    def secrets(self) -> list[str]:
        pairs = parse_qsl(urlsplit(self.target).query)
        return [self.password, *(v for k, v in pairs if _SECRET_KEY.search(k))]

    def join(self, location: str) -> Url:
        """Where a redirect leads; raises ValueError when it leaves the host or its port, or gives up TLS.

        From http to https it may: that the port is another one is the point. Everything else would carry the password
        to whatever listens there.
        """
        base = f"{self.scheme}://{self.authority}{self.target}"
        there = Url.parse(urljoin(base, location))
        if there.host != self.host:
            raise ValueError(f"to another host ({there.host})")
        if self.scheme == "https" and there.scheme != "https":
            raise ValueError("from https to http")
        if there.scheme == self.scheme and there.port != self.port:
            raise ValueError(f"to another port ({there.port})")
        return replace(there, username=self.username, password=self.password)


@dataclass(frozen=True, slots=True)
class Head:
    """Status and fields of a response, names in lower case, in their order."""

    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        return next((v for k, v in self.fields if k == name), "")

    def all(self, name: str) -> list[str]:
        return [v for k, v in self.fields if k == name]

    @property
    def media_type(self) -> str:
        return self.get("content-type").partition(";")[0].strip().lower()

    @property
    def length(self) -> int | None:
        text = self.get("content-length")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None

    @property
    def chunked(self) -> bool:
        return "chunked" in self.get("transfer-encoding").lower()


def parse_head(block: bytes) -> Head:
    """Lenient: cameras send odd versions, no reason, lines without a colon. Raises ValueError without a status."""
    lines = block.decode("latin-1").replace("\r", "").split("\n")
    while lines and not lines[0].strip():
        lines.pop(0)
    found = _STATUS.match(lines[0]) if lines else None
    if not found:
        raise ValueError("the answer is not HTTP")
    fields = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields.append((name.strip().lower(), value.strip()))
    return Head(int(found[1]), found[2] or "", tuple(fields))


class Body(Protocol):
    """Takes a response's body, in place.

    `patience_s`: how long it can wait for as many bytes as `take` told; 0: until they are there, it needs all of them.
    """

    patience_s: float

    def room(self) -> memoryview: ...

    def take(self, count: int) -> int:
        """`count` bytes are in what `room()` gave. An exception ends the connection.

        Returns how many bytes more it can wait for without being called, 0 when the body is complete.
        """
        ...


class Connection(asyncio.BufferedProtocol):
    """One request and its response. `head` and `ended` are futures; what arrives behind the head waits for `read`."""

    def __init__(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._request = request
        self._early = bytearray(MAX_HEAD_BYTES)
        self._count = 0
        self._body: Body | None = None
        self._lowat = 1
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._sock: socket.socket | None = None
        self._transport: asyncio.Transport | None = None
        self._lost: asyncio.Future[None] = loop.create_future()
        self.head: asyncio.Future[Head] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.wakeups = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if transport.get_extra_info("ssl_object") is None:
            self._sock = transport.get_extra_info("socket")
        transport.write(self._request)

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._body is not None:
            return self._body.room()
        return memoryview(self._early)[self._count :]

    def buffer_updated(self, nbytes: int) -> None:
        self.wakeups += 1
        if self._body is None:
            self._count += nbytes
            self._find_head()
            return
        try:
            want = self._body.take(nbytes)
        except Exception as e:
            self._end(e)
            return
        if not want:
            self._end(None)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if want != self._lowat:
            self._wait_for(want)
        if self._body.patience_s and self._sock is not None:
            self._timer = self._loop.call_later(self._body.patience_s, self._wait_for, 1)

    def _find_head(self) -> None:
        found = _HEAD_END.search(self._early, 0, self._count)
        if found is None:
            if self._count == len(self._early):
                self._end(TransientError(f"an answer's header is longer than {MAX_HEAD_BYTES} bytes"))
            return
        assert self._transport is not None
        self._transport.pause_reading()
        block = bytes(self._early[: found.start()])
        self._early = self._early[found.end() : self._count]
        try:
            self.head.set_result(parse_head(block))
        except ValueError as e:
            self._end(TransientError(str(e)))

    def read(self, body: Body) -> None:
        """Give the body from its first byte on to `body`; `ended` tells when and how that is over."""
        self._body = body
        rest, self._early = memoryview(self._early), bytearray()
        want = 1
        try:
            while rest and want:
                room = body.room()
                n = min(len(room), len(rest))
                room[:n] = rest[:n]
                want = body.take(n)
                rest = rest[n:]
        except Exception as e:
            self._end(e)
            return
        if not want:
            self._end(None)
            return
        if self._transport is not None and not self._transport.is_closing():
            self._wait_for(want)
            self._transport.resume_reading()

    def _wait_for(self, missing: int) -> None:
        """Let the kernel wake us once for a whole picture instead of once a segment."""
        want = min(missing, MAX_LOWAT_BYTES)
        if self._sock is not None and want != self._lowat:
            self._lowat = want
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, want)

    def _end(self, error: Exception | None) -> None:
        failure = error or TransientError("the camera closed the connection without an answer")
        if not self.head.done():
            self.head.set_exception(failure)
            self.head.exception()
        if not self.ended.done():
            if error is None:
                self.ended.set_result(None)
            else:
                if isinstance(error, AgentError | TooLarge):  # a bug keeps its traceback
                    error.__traceback__ = error.__context__ = None  # whose frames hold the buffer, and so itself
                self.ended.set_exception(error)
                self.ended.exception()
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(TransientError(f"the connection broke ({_why(exc)})") if exc else None)
        self._transport = self._sock = None
        if not self._lost.done():
            self._lost.set_result(None)

    async def close(self) -> None:
        """Drop the connection; nothing of it is left afterwards."""
        if self._transport is not None:
            self._transport.abort()
            await self._lost


def _why(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()  # asyncio's own text repeats the address
    return str(error) or type(error).__name__


async def connect(url: Url, authorization: str, timeout_s: float) -> Connection:
    """Connect and send a GET; raises TransientError (nobody there) without the address, which the caller adds."""
    request = [f"GET {url.target} HTTP/1.0", f"Host: {url.authority}", "User-Agent: camera-agent", "Accept: */*"]
    if authorization:
        request.append(f"Authorization: {authorization}")
    data = "\r\n".join([*request, "Connection: close", "", ""]).encode("latin-1", "replace")
    loop = asyncio.get_running_loop()
    factory: Callable[[], Connection] = lambda: Connection(data)  # noqa: E731
    context = ssl.create_default_context() if url.scheme == "https" else None
    try:
        async with asyncio.timeout(timeout_s):
            return (await loop.create_connection(factory, url.host, url.port, ssl=context))[1]
    except TimeoutError:
        raise TransientError(f"no answer within {timeout_s:g} s") from None
    except socket.gaierror:
        raise TransientError(f"no such host: {url.host}") from None
    except ssl.SSLCertVerificationError as e:
        raise PermanentError(f"the certificate is not valid for {url.host} ({e.verify_message})") from None
    except UnicodeError:
        raise TransientError(f"no such host: {url.host}") from None
    except OSError as e:
        raise TransientError(f"cannot connect ({_why(e)})") from None
