"""One keep-alive HTTP connection of a sink: requests with bodies that are watched, errors in the house's words."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from agent import __version__
from agent.errors import PermanentError, TransientError
from agent.sinks.body import BLOCK_BYTES, Body
from agent.sinks.threads import finished
from agent.trust import distrusted, trust

CONNECT_S = 10.0
PROGRESS_S = 30.0
MAX_ANSWER_BYTES = 64 * 1024
LONGEST_WAIT_S = 3600.0
_NOTSENT_LOWAT = 25  # linux/tcp.h: TCP_NOTSENT_LOWAT

_REFUSALS = {401: "refuses the login (401)", 403: "does not permit it (403)", 410: "says that this is gone (410)"}


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is at most its first 64 KiB."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Watched(aiohttp.Payload):
    """Writes a Body block by block and calls `tick` as it goes."""

    def __init__(self, body: Body, tick: Callable[[], None]) -> None:
        super().__init__(body, content_type="application/octet-stream")
        self._body = body
        self._size = body.length
        self._tick = tick

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a body that is streamed")

    async def write(self, writer: AbstractStreamWriter) -> None:
        blocks = self._body.blocks()
        while True:
            block = await finished(next, blocks, None) if self._body.on_disk else next(blocks, None)
            if block is None:
                break
            await writer.write(block)
            self._tick()


class HttpLine:
    """Requests to one host. Raises TransientError and PermanentError that begin with `label`.

    A request may take as long as it likes while it makes progress; without any for 30 s it is given up.
    """

    def __init__(self, label: str, headers: Mapping[str, str], ca_file: str | None = None, pin: str = "") -> None:
        self._label = label
        context = trust(label, ca_file, pin) if ca_file or label.startswith("https:") else True
        connector = aiohttp.TCPConnector(limit=1, ssl=context, keepalive_timeout=25.0, socket_factory=_socket)
        self._http = aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": f"camera-agent/{__version__}", **headers},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding",),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, e: Any, tb: TracebackType | None) -> None:
        await self._http.close()

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: Body | None = None
    ) -> Answer:
        """Send it and read the answer, whatever its status."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PROGRESS_S) as limit:

                def tick() -> None:
                    with contextlib.suppress(RuntimeError):  # it ran out just now
                        limit.reschedule(loop.time() + PROGRESS_S)

                data = _Watched(body, tick) if body is not None else None
                request = self._http.request(method, url, headers=headers, data=data, allow_redirects=False)
                async with request as response:
                    tick()
                    text = await response.content.read(MAX_ANSWER_BYTES)
                    return Answer(response.status, response.headers, text)
        except TimeoutError:
            raise TransientError(f"{self._label}: no progress within {PROGRESS_S:g} s") from None
        except aiohttp.InvalidURL:
            raise PermanentError(f"{self._label}: not an address") from None
        except aiohttp.ClientConnectorCertificateError as e:
            raise PermanentError(f"{self._label}: {distrusted(e.certificate_error)}") from None
        except (aiohttp.ClientError, OSError) as e:
            raise TransientError(f"{self._label}: {_plain(e)}") from None

    def failed(self, answer: Answer) -> TransientError | PermanentError:
        """What an answer means that is neither success nor about the item."""
        if answer.status in _REFUSALS:
            return PermanentError(f"{self._label}: the server {_REFUSALS[answer.status]}")
        if 300 <= answer.status < 400:
            return PermanentError(f"{self._label}: the server redirects ({answer.status}); give the final address")
        why = "the store is full (507)" if answer.status == 507 else f"the server answers {answer.status}"
        return TransientError(f"{self._label}: {why}", retry_after(answer.headers.get("Retry-After", "")))


def retry_after(text: str) -> float:
    """Seconds of a Retry-After header (RFC 9110, 10.2.3: seconds or a date), an hour at most; 0 for none."""
    import time

    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_WAIT_S)
    try:
        until = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(until - time.time(), 0.0), LONGEST_WAIT_S)


def _socket(address: Any) -> socket.socket:
    """A socket whose unsent bytes wait with us and not in the kernel, where a slow line's progress is not seen."""
    family, kind, protocol, *_ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, BLOCK_BYTES)
    return sock


def _plain(e: BaseException) -> str:
    """An error's reason in words, without addresses and class names."""
    if isinstance(e, aiohttp.ClientConnectorError):
        e = e.os_error
    if isinstance(e, aiohttp.ServerDisconnectedError):
        return "the server closed the connection"
    if isinstance(e, socket.gaierror):
        return "name not found"
    if isinstance(e, OSError) and e.errno:
        return os.strerror(e.errno)
    return str(e) or type(e).__name__
