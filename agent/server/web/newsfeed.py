"""The news as server-sent events: what happens, while it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from agent.server.accounts import Who
from agent.server.news import Listener, News
from agent.server.web.access import Rules, asking

BEAT_S = 15.0


class NewsFeed:
    """`GET /api/v1/news`, CloudEvents; each hears of the cameras that they may see, as long as they are logged in."""

    def __init__(self, news: News, rules: Rules, visible: Callable[[Who], list[str]]) -> None:
        self._news = news
        self._rules = rules
        self._visible = visible

    async def handle(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        response.headers["X-Accel-Buffering"] = "no"
        if request.method == "HEAD":
            return response
        with self._news.listen() as listener:
            await response.prepare(request)
            try:
                await response.write(b"retry: 2000\n\n")
                await self._tell(request, response, listener)
            except ConnectionError:
                pass
        return response

    async def _tell(self, request: web.Request, response: web.StreamResponse, listener: Listener) -> None:
        missed = 0
        seen = set(self._visible(asking(request)))
        holder = self._rules.holder(request)
        while (who := holder()) is not None:
            try:
                async with asyncio.timeout(BEAT_S):
                    told = await listener.get()
            except TimeoutError:
                await response.write(b": still here\n\n")
                continue
            if told is None:
                return
            if listener.missed > missed:
                missed = listener.missed
                await response.write(b"event: missed\ndata: {}\n\n")
            if not told.last:
                (seen.add if self._rules.may(who, told.camera, False) else seen.discard)(told.camera)
            if told.camera in seen:
                await response.write(f"event: {told.kind}\ndata: {told.body}\n\n".encode())

    def close(self) -> None:
        self._news.close()
