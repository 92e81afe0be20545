"""Small real parts to test a dispatcher with: backends, clients, the number of open descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from agent.dispatch.arrival import Service
from agent.dispatch.dispatcher import Dispatcher
from agent.dispatch.limits import Limits
from agent.dispatch.matchers import Network
from agent.dispatch.peek import Route
from agent.dispatch.records import Record

QUICK = Limits(silence_s=0.15, sniff_deadline_s=0.4, keepalive_s=0.4, linger_s=0.5, drain_s=1.0)
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Rig:
    """A running dispatcher and what it recorded."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.dispatcher: Dispatcher
        self.port = 0

    async def ended(self, count: int = 1, timeout_s: float = 5.0) -> list[Record]:
        """The records, once there are `count`."""
        async with asyncio.timeout(timeout_s):
            while len(self.records) < count:
                await asyncio.sleep(0.005)
        return self.records


@contextlib.asynccontextmanager
async def running(
    routes: Sequence[Route],
    services: Mapping[str, Service],
    limits: Limits = QUICK,
    proxy_from: Sequence[Network] = (),
) -> AsyncIterator[Rig]:
    rig = Rig()
    rig.dispatcher = Dispatcher(routes, services, limits=limits, proxy_from=proxy_from, on_record=rig.records.append)
    rig.port = await rig.dispatcher.start()
    try:
        yield rig
    finally:
        await rig.dispatcher.close(drain_s=0.2)


@contextlib.asynccontextmanager
async def backend(talk: Talk, path: str = "") -> AsyncIterator[int]:
    """A server that talks to each connection; its port (0 for a UNIX path)."""
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()

    server = await (asyncio.start_unix_server(one, path) if path else asyncio.start_server(one, "127.0.0.1", 0))
    try:
        yield 0 if path else int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes back as they come, half-close answered by half-close."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def http_backend(name: str) -> Talk:
    """Plain keep-alive HTTP: answers `name path body-length`, pays attention to Connection: close."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path, lower = head.split(" ")[1], head.lower()
            size = 0
            if "content-length:" in lower:
                size = len(await reader.readexactly(int(lower.split("content-length:")[1].split("\r\n")[0])))
            elif "chunked" in lower:
                while chunk := int((await reader.readline()).split(b";")[0], 16):
                    size += len(await reader.readexactly(chunk))
                    await reader.readexactly(2)
                await reader.readexactly(2)
            body = f"{name} {path} {size}\n".encode()
            last = "connection: close" in lower
            closing = b"Connection: close\r\n" if last else b""
            writer.write(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n" % (closing, len(body)) + body)
            await writer.drain()
            if last:
                return

    return talk


async def ask(
    port: int,
    *pieces: bytes,
    end: bool = False,
    pause_s: float = 0.0,
    timeout_s: float = 5.0,
    strict: bool = True,
) -> bytes:
    """Everything the other end says to these pieces, until it closes or resets (not `strict`: or time is up)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = b""

    async def write() -> None:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause_s)
            if end:
                writer.write_eof()

    writing = asyncio.create_task(write())
    try:
        async with asyncio.timeout(timeout_s):
            while data := await reader.read(65536):
                said += data
    except ConnectionError:
        pass
    except TimeoutError:
        if strict:
            raise
    finally:
        writing.cancel()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return said


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
