"""A TCP line in front of a server that can be cut and held up."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self


class Line:
    """Passes bytes both ways. `cut_after`: so many bytes from the client, then the connection is reset.

    Between `hold` and `release` nothing passes, and nothing is closed.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.cut_after: int | None = None
        self.cuts = 0
        self.brought = 0
        self.connections = 0
        self.held = False
        self.to = port
        self.ends: set[_End] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _End(self, None), "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, kind: type[BaseException] | None, e: object, tb: TracebackType | None) -> None:
        self._server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for end in list(self.ends):
            end.transport.abort()
        while self.ends:
            await asyncio.sleep(0.005)

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        self.held = False
        for end in list(self.ends):
            end.flush()


class _End(asyncio.Protocol):
    """One side of one connection; without `peer` it is the client's, and connects to the server."""

    transport: Any

    def __init__(self, line: Line, peer: _End | None) -> None:
        self.line = line
        self.peer = peer
        self.client = peer is None
        self.waiting: list[bytes] = []
        self.over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.line.ends.add(self)
        if self.client:
            self.line.connections += 1
            task = asyncio.ensure_future(self._connect())
            self.line.tasks.add(task)
            task.add_done_callback(self.line.tasks.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, self.peer = await loop.create_connection(lambda: _End(self.line, self), "127.0.0.1", self.line.to)
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.waiting.append(data)
        if self.client:
            self.line.brought += len(data)
            if self.line.cut_after is not None and self.line.brought >= self.line.cut_after:
                self.line.cut_after = None
                self.line.cuts += 1
                self.transport.abort()
                if self.peer is not None:
                    self.peer.transport.abort()
                return
        self.flush()

    def flush(self) -> None:
        if self.line.held or self.peer is None:
            return
        for data in self.waiting:
            self.peer.transport.write(data)
        self.waiting.clear()
        if self.over:
            self.peer.transport.close()

    def connection_lost(self, e: Exception | None) -> None:
        self.line.ends.discard(self)
        self.over = True
        self.flush()
