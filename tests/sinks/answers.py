"""An HTTP server that answers as it is told: for what real ones do too rarely."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web

Answerer = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


@dataclass
class Scripted:
    """Calls `answer` for each request; None from it means the usual 201, or an empty list of acks."""

    answer: Answerer
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    port: int = 0

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path, request.content_length or 0))
        response = await self.answer(request)
        if response is not None:
            return response
        await request.read()
        if request.path.endswith(("/ack", "/dropped")):
            return web.json_response({"ack": 0, "have": []})
        return web.Response(status=404) if request.method == "HEAD" else web.json_response({}, status=201)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(self, kind: type[BaseException] | None, e: object, tb: TracebackType | None) -> None:
        await self._runner.cleanup()
