"""The news as server-sent events: what happens, while it happens."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from agent.server.news import Listener, News

BEAT_S = 15.0
END = "end"


class NewsFeed:
    """`GET /api/v1/news`."""

    def __init__(self, news: News) -> None:
        self._news = news

    async def handle(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        response.headers["X-Accel-Buffering"] = "no"
        with self._news.listen() as listener:
            await response.prepare(request)
            try:
                await response.write(b"retry: 2000\n\n")
                await self._tell(response, listener)
            except ConnectionError:
                pass
        return response

    async def _tell(self, response: web.StreamResponse, listener: Listener) -> None:
        missed = 0
        while True:
            try:
                async with asyncio.timeout(BEAT_S):
                    kind, what = await listener.get()
            except TimeoutError:
                await response.write(b": still here\n\n")
                continue
            if kind == END:
                return
            if listener.missed > missed:
                missed = listener.missed
                await response.write(b"event: missed\ndata: {}\n\n")
            await response.write(f"event: {kind}\ndata: {json.dumps(what)}\n\n".encode())

    def close(self) -> None:
        self._news.tell(END, {})
