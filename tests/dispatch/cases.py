"""Thirteen things that clients do to a port with two HTTP backends, /a and /b, and one that greets the silent.

Each case is asked of any dispatcher and says in a word what came: the services that answered, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable

from tests.dispatch.rig import Talk, ask

GREETING = b"220 ready\r\n"
SLOW_S = 0.2
Case = Callable[[int, float], Awaitable[bytes]]


def http(name: str) -> Talk:
    """A keep-alive backend that says its name; `slow` in the path makes it wait, also for a client that has ended."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if b"slow" in head.split(b"\r\n")[0]:
                    await asyncio.sleep(SLOW_S)
                last = b"connection: close" in head.lower()
                closing = b"Connection: close\r\n" if last else b""
                writer.write(b"HTTP/1.1 200 OK\r\n" + closing + b"Content-Length: 4\r\n\r\n<%s>\n" % name.encode())
                if last:
                    break

    return talk


async def greeter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks first, like FTP; hangs up on HTTP."""
    writer.write(GREETING)
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            if b"HTTP/" in line:
                return
            writer.write(b"500 " + line)


def get(path: str, extra: bytes = b"") -> bytes:
    return b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path.encode(), extra)


def heard(said: bytes) -> str:
    """`A`, `B`, `greeting` in their order, a status that is no 200, or `nothing`."""
    words = re.findall(rb"<([AB])>|(220 ready)|HTTP/1\.1 ([^2]\d\d)", said)
    return ", ".join((a or (g and b"greeting") or s).decode() for a, g, s in words) or "nothing"


async def _plain(port: int, timer_s: float) -> bytes:
    return await ask(port, get("/b/1"), timeout_s=timer_s + 0.5, strict=False)


async def _dripped(port: int, timer_s: float) -> bytes:
    data = get("/b/1")
    return await ask(
        port, *(data[i : i + 1] for i in range(len(data))), pause_s=0.002, timeout_s=timer_s + 0.5, strict=False
    )


async def _one_then_rest(port: int, timer_s: float) -> bytes:
    data = get("/b/1")
    return await ask(port, data[:1], data[1:], pause_s=0.05, timeout_s=timer_s + 0.5, strict=False)


async def _keep_alive(port: int, timer_s: float) -> bytes:
    return await ask(port, get("/a/1"), get("/b/1"), pause_s=0.1, timeout_s=timer_s + 0.5, strict=False)


async def _pipelined(port: int, timer_s: float) -> bytes:
    return await ask(port, get("/a/1") + get("/b/1"), timeout_s=timer_s + 0.5, strict=False)


async def _half_closed(port: int, timer_s: float) -> bytes:
    return await ask(port, get("/a/slow"), end=True, timeout_s=3, strict=False)


async def _upload(port: int, timer_s: float) -> bytes:
    data = b"\0\0<X>" * 20_000
    head = b"PUT /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data)
    return await ask(port, head, data, timeout_s=timer_s + 0.5, strict=False)


async def _silent(port: int, timer_s: float) -> bytes:
    return await ask(port, timeout_s=timer_s + 0.5, strict=False)


async def _silent_end(port: int, timer_s: float) -> bytes:
    return await ask(port, end=True, timeout_s=timer_s + 0.5, strict=False)


async def _late(port: int, timer_s: float) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.sleep(1.5 * timer_s)
    said = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        writer.write(get("/b/1"))
        async with asyncio.timeout(1):
            while data := await reader.read(65536):
                said += data
    writer.close()
    return said


async def _long_head(port: int, timer_s: float) -> bytes:
    return await ask(port, get("/b/1", b"X: " + b"y" * 20_000 + b"\r\n"), timeout_s=timer_s + 0.5, strict=False)


async def _nuls(port: int, timer_s: float) -> bytes:
    return await ask(port, bytes(64), timeout_s=timer_s + 0.5, strict=False)


async def _two_hosts(port: int, timer_s: float) -> bytes:
    return await ask(port, get("/a/1", b"Host: y\r\n"), timeout_s=timer_s + 0.5, strict=False)


CASES: dict[str, tuple[Case, tuple[str, ...]]] = {
    "a request": (_plain, ("B",)),
    "a request byte by byte": (_dripped, ("B",)),
    "one byte, then the rest": (_one_then_rest, ("B",)),
    "keep-alive: /a, then /b": (_keep_alive, ("A, B",)),
    "pipelined: /a and /b": (_pipelined, ("A, B",)),
    "request, end, slow answer": (_half_closed, ("A",)),
    "100 kB upload with NULs": (_upload, ("B",)),
    "silent": (_silent, ("greeting",)),
    "silent, then end at once": (_silent_end, ("greeting",)),
    "request after the silence timer": (_late, ("B", "greeting")),
    "head of 20 kB": (_long_head, ("B",)),
    "NULs": (_nuls, ("nothing",)),
    "two Host headers": (_two_hosts, ("400",)),
}
"""Name to the case and what may be heard. A request after the timer reaches the greeter, which must hang up on it."""
