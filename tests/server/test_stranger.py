"""A client written from docs/protocol.md and RFC 6455 alone, on a bare socket, with nothing of the product in it."""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import hashlib
import json
import os
import struct
import time
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from agent.server.app import CameraServer
from agent.server.web.sockets import IN_A_ROW
from tests.server.conftest import Start
from tests.server.people import owner

WALL_NS = time.time_ns()


class Stranger:
    """One connection; frames are made and read by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = b""

    @classmethod
    async def connect(cls, port: int, camera: str, token: str) -> Stranger:
        me = cls(*await asyncio.open_connection("127.0.0.1", port))
        key = base64.b64encode(os.urandom(16)).decode()
        me.writer.write(
            f"GET /v1/cam/{camera}/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: camera-agent.v1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        me.head = await me.reader.read(65536)  # one read: the answer leaves in one write
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
        assert me.head.startswith(b"HTTP/1.1 101 ") and me.head.endswith(b"\r\n\r\n"), me.head
        assert accept in me.head and b"camera-agent.v1" in me.head
        return me

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def send(self, opcode: int, data: bytes) -> None:
        size = len(data)
        length = bytes([0x80 | min(size, 126)]) if size < 126 else b""
        if size >= 126:
            length = (
                bytes([0xFE]) + struct.pack(">H", size) if size < 65536 else bytes([0xFF]) + struct.pack(">Q", size)
            )
        mask = os.urandom(4)
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
        self.writer.write(bytes([0x80 | opcode]) + length + mask + masked)

    async def receive(self) -> tuple[int, bytes]:
        first, second = await self.reader.readexactly(2)
        assert not second & 0x80, "a server does not mask"
        size = second
        if size >= 126:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
        return first & 0x0F, await self.reader.readexactly(size)

    def say(self, **body: Any) -> None:
        self.send(1, json.dumps(body).encode())

    async def hear(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while True:
                opcode, data = await self.receive()
                assert opcode != 8, data
                if opcode == 1 and (body := json.loads(data))["t"] == kind:
                    return body

    def part(self, seq: int, payload: bytes, start: int, end: int, kind: int = 1, event: int = 0) -> None:
        head = struct.pack(">BBBBHHQqIIII", 1, 2, kind, 0, 72, 0, seq, WALL_NS, event, 0, start, len(payload))
        self.send(2, head + hashlib.sha256(payload).digest() + payload[start:end])


async def test_a_stranger_delivers_parts_in_any_mixture_and_nul_bytes_pass(server: CameraServer) -> None:
    me = await Stranger.connect(server.port, "porch", await server.issue_token("porch"))
    spool = os.urandom(8).hex()
    me.say(t="hello", agent="stranger", spool=spool, next=1)
    welcome = await me.hear("welcome")
    assert (welcome["ack"], welcome["have"]) == (0, []) and welcome["window"] >= 65536
    big, small = b"\xff\xd8" + bytes(100_000), b"\xff\xd8" + bytes(100)
    me.part(1, big, 0, 60_000)
    me.part(2, small, 0, len(small))
    me.part(1, big, 60_000, len(big))
    while (await me.hear("ack"))["ack"] != 2:
        pass
    stored = server.settings.store_path / "items" / "porch" / spool / "0"
    assert (stored / "1.jpg").read_bytes() == big and (stored / "2.jpg").read_bytes() == small
    me.send(9, b"\0\0mark")
    while (heard := await me.receive())[0] == 1:  # an acknowledgement is cumulative: it may be said twice
        pass
    assert heard == (10, b"\0\0mark")
    await me.close()


async def test_a_stranger_gets_commands_and_answers(server: CameraServer) -> None:
    me = await Stranger.connect(server.port, "porch", await server.issue_token("porch"))
    me.say(t="hello", agent="stranger", spool=os.urandom(8).hex(), next=1)
    welcome = await me.hear("welcome")
    camera = server._cameras.get("porch")
    assert camera is not None
    while camera.command is None:
        await asyncio.sleep(0.01)
    asking = asyncio.create_task(camera.command("snapshot", {}))
    cmd = await me.hear("cmd")
    assert cmd["do"] == "snapshot" and welcome["now_ns"] < cmd["exp_ns"] < welcome["now_ns"] + 60_000_000_000
    me.say(t="done", id="another", ok=True, result=1)
    me.say(t="done", id=cmd["id"], ok=True, result={"wall_ns": 5})
    assert await asking == {"ok": True, "result": {"wall_ns": 5}}
    await me.close()


async def test_five_unfinished_items_are_too_many(server: CameraServer) -> None:
    me = await Stranger.connect(server.port, "porch", await server.issue_token("porch"))
    me.say(t="hello", agent="stranger", spool=os.urandom(8).hex(), next=1)
    await me.hear("welcome")
    for seq in range(1, 6):
        me.part(seq, b"\xff\xd8" + bytes(1000), 0, 500)
    opcode, data = await asyncio.wait_for(me.receive(), 60)
    assert (opcode, int.from_bytes(data[:2], "big")) == (8, 1002)
    await me.close()


async def test_what_is_declared_missing_was_missing(server: CameraServer) -> None:
    me = await Stranger.connect(server.port, "porch", await server.issue_token("porch"))
    spool = os.urandom(8).hex()
    me.say(t="hello", agent="stranger", spool=spool, next=1)
    await me.hear("welcome")
    picture = b"\xff\xd8" + bytes(10)
    me.part(3, picture, 0, len(picture))
    while (await me.hear("ack"))["have"] != [[3, 3]]:
        pass
    me.say(t="dropped", spool=spool, first=1, last=5, why="restart")
    assert (await me.hear("ack"))["ack"] == 5
    assert server._archive is not None
    dropped = await server._archive.index.read(lambda rows: rows.dropped.find())
    assert [(d.first, d.last) for d in dropped] == [(1, 2), (4, 5)]
    await me.close()


async def test_a_frame_that_is_not_masked_ends_the_session(server: CameraServer) -> None:
    token = await server.issue_token("porch")
    for before in (True, False):
        me = await Stranger.connect(server.port, "porch", token)
        if before:
            me.say(t="hello", agent="stranger", spool=os.urandom(8).hex(), next=1)
            await me.hear("welcome")
        picture = b"\xff\xd8" + bytes(70_000)
        me.part(1, picture, 0, len(picture)) if before else None
        text = json.dumps({"t": "dropped"}).encode()
        me.writer.write(bytes([0x81, len(text)]) + text)
        async with asyncio.timeout(60):
            while (got := await me.receive())[0] != 8:
                pass
        assert int.from_bytes(got[1][:2], "big") == 1002 and b"masked" in got[1]
        await me.close()


@pytest.mark.parametrize(
    "where", ["/v1/cam/porch/stream", "/api/v1/cameras/porch/live", "/api/v1/cameras/porch/live.ws"]
)
async def test_a_flood_of_pings_lets_others_have_their_turn(
    server: CameraServer, viewer: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    turn, answered = 0, list[int]()

    async def turns() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    pong = web.WebSocketResponse.pong

    async def counted(self: web.WebSocketResponse, message: bytes = b"") -> None:
        answered.append(turn)
        await pong(self, message)

    monkeypatch.setattr(web.WebSocketResponse, "pong", counted)
    token = await server.issue_token("porch")
    headers = {"Authorization": f"Bearer {token}"} if where.startswith("/v1/") else {}
    protocols = ("camera-agent.v1",)
    async with viewer.ws_connect(f"{server.urls()[0]}{where[1:]}", headers=headers, protocols=protocols) as ws:
        if where.startswith("/v1/"):
            await ws.send_json({"t": "hello", "agent": "x", "spool": os.urandom(8).hex(), "next": 1})
            await ws.receive()
        turning = asyncio.create_task(turns())
        ws._writer.transport.write(b"\x89\x80\0\0\0\0" * 1000)  # type: ignore[union-attr]
        async with asyncio.timeout(60):
            while len(answered) < 1000:
                await asyncio.sleep(0.01)
        turning.cancel()
    assert max(collections.Counter(answered).values()) <= IN_A_ROW


async def test_an_answer_that_is_no_json_for_others_is_not_passed_on(start: Start) -> None:
    server = await start()
    async with owner(server) as who:
        me = await Stranger.connect(server.port, "porch", (await who.add("porch"))["token"])
        me.say(t="hello", agent="stranger", spool=os.urandom(8).hex(), next=1)
        await me.hear("welcome")
        camera = server._cameras.get("porch")
        assert camera is not None
        while camera.command is None:
            await asyncio.sleep(0.01)
        for result in (b"NaN", b'{"a":[-Infinity]}'):
            path = "/api/v1/cameras/porch/command"
            asking = asyncio.create_task(who.ask("POST", path, json={"do": "arm"}))
            cmd = await me.hear("cmd")
            me.send(1, b'{"t":"done","id":"%b","ok":true,"result":%b}' % (cmd["id"].encode(), result))
            told = await asking
            assert told["ok"] is False and "JSON" in told["error"]
        await me.close()
