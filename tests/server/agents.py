"""The other end of the uplink, written from docs/protocol.md and with nothing of the product's sink in it."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import Any

import aiohttp

from agent.frame import Item
from agent.media import wire
from agent.server.app import CameraServer


class Uplink:
    """One agent's connection, message by message; `spool` may be that of an earlier one."""

    def __init__(self, http: aiohttp.ClientSession, ws: aiohttp.ClientWebSocketResponse, spool: str) -> None:
        self.http = http
        self.ws = ws
        self.spool = spool
        self.camera_id = ""

    async def hello(self) -> dict[str, Any]:
        """Say hello; the welcome, without the server's time and the camera's id."""
        await self.send({"t": "hello", "agent": "test", "spool": self.spool, "next": 1})
        welcome = await self.control("welcome")
        assert abs(welcome.pop("now_ns") - time.time_ns()) < 60_000_000_000
        assert 0 < welcome.pop("spread_s") <= 30
        self.camera_id = welcome.pop("camera_id")
        return welcome

    async def send(self, body: dict[str, Any]) -> None:
        await self.ws.send_str(json.dumps(body))

    async def put(self, item: Item) -> None:
        for message in wire.pack_item(item):
            await self.ws.send_bytes(message)

    async def control(self, kind: str, timeout_s: float = 60) -> dict[str, Any]:
        """The next control message of this kind; others before it are passed over."""
        async with asyncio.timeout(timeout_s):
            while True:
                message = await self.ws.receive()
                assert message.type is aiohttp.WSMsgType.TEXT, f"{message.type!r} {self.ws.close_code}"
                body: dict[str, Any] = json.loads(message.data)
                if body["t"] == kind:
                    return body

    async def acked(self, upto: int) -> dict[str, Any]:
        """The first acknowledgement that reaches `upto`."""
        while True:
            body = await self.control("ack")
            if body["ack"] >= upto:
                return body

    async def closed(self, timeout_s: float = 60) -> int | None:
        """Wait for the server's end of the session: its code."""
        async with asyncio.timeout(timeout_s):
            while not (await self.ws.receive()).type.name.startswith("CLOS"):
                pass
        return self.ws.close_code

    async def cut(self) -> None:
        """Go without a word, as with a pulled plug."""
        response = self.ws._response  # aiohttp offers no public way to cut a line
        if response.connection is not None and response.connection.transport is not None:
            response.connection.transport.abort()
        await self.http.close()


class Uplinks:
    """Opens uplinks; `close` ends them all."""

    def __init__(self) -> None:
        self._clients: list[aiohttp.ClientSession] = []

    async def __call__(
        self, server: CameraServer, camera: str, token: str, spool: str = "", protocol: str = wire.SUBPROTOCOL
    ) -> Uplink:
        """Raises WSServerHandshakeError with the status of a refusal."""
        http = aiohttp.ClientSession()
        self._clients.append(http)
        ws = await http.ws_connect(
            f"ws://127.0.0.1:{server.port}/v1/cam/{camera}/stream",
            protocols=(protocol,),
            headers={"Authorization": f"Bearer {token}"},
            max_msg_size=wire.MAX_MESSAGE_BYTES,
        )
        return Uplink(http, ws, spool or secrets.token_hex(8))

    async def close(self) -> None:
        for http in self._clients:
            await http.close()
