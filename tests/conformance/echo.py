"""Both ends of the WebSocket uplink as echoes, for a conformance suite: `server PORT` or `client URL`.

The product's listener, sockets and reading loops, without login, hello and what items mean.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import uuid
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import WSMsgType, web

from agent.errors import AgentError
from agent.hub import Hub
from agent.server.app import CameraServer
from agent.server.ingest import websocket
from agent.server.port import Port
from agent.server.settings import ServerSettings
from agent.sinks import Feed, uplink
from agent.sinks.websocket import WebSocketSink
from agent.spool.disk import Disk
from agent.spool.store import Spool

NAME = "camera-agent"


class ServerEcho(websocket.Session):
    async def hello(self) -> None:
        self.spool = uuid.uuid4().hex

    async def _text(self, text: str) -> None:
        await self.ws.send_str(text)

    async def _binary(self, data: bytes) -> None:
        await self.ws.send_bytes(data)


class OpenUplink(websocket.Uplink):
    """Lets everybody in as one camera."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        camera = self._cameras.get("cam1")
        assert camera is not None
        ws = websocket.socket()
        await ws.prepare(request)
        await self._serve(ws, camera, request)
        return ws


async def serve(port: int) -> None:
    websocket.Session = ServerEcho  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        product = CameraServer(ServerSettings(store=folder, port=0), durable=False)
        await product.start()
        await product.add_camera("cam1")
        app = web.Application()
        app.router.add_get("/{path:.*}", OpenUplink(product._cameras, product._intake, product._clock).handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        Port(runner).listen("127.0.0.1", port)
        await asyncio.Event().wait()


class ClientEcho(uplink.Session):
    async def _hello(self) -> None:
        pass

    def _jobs(self) -> tuple[Coroutine[Any, Any, None], ...]:
        return (self._read(),)

    def _control(self, message: aiohttp.WSMessage) -> dict[str, Any] | None:
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            return {"data": message.data}
        return super()._control(message)

    async def _heed(self, body: dict[str, Any]) -> None:
        data = body["data"]
        await (self._ws.send_str(data) if isinstance(data, str) else self._ws.send_bytes(data))


async def ask(url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool("cam1", Disk(Path(folder), 1 << 20, ("a",), 0.0))
        feed = Feed("cam1", spool.outbox("a"), Hub())
        sink = WebSocketSink(url=url)
        async with aiohttp.ClientSession() as http:
            async with http.ws_connect(f"{url}/getCaseCount") as ws:
                count = int((await ws.receive()).data)
            for case in range(1, count + 1):
                try:
                    ws = await sink._connect(http, f"{url}/runCase?case={case}&agent={NAME}", "")
                    try:
                        await ClientEcho(ws, feed, sink.label).run()
                    finally:
                        await ws.close()
                except AgentError as e:
                    print(case, e, file=sys.stderr)
            async with http.ws_connect(f"{url}/updateReports?agent={NAME}"):
                pass
        await spool.close()


if __name__ == "__main__":
    role, where = sys.argv[1:]
    asyncio.run(serve(int(where)) if role == "server" else ask(where))
