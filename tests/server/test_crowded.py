"""Unfinished uploads of one account take so much memory and no more; those of other accounts do not notice."""

from __future__ import annotations

import asyncio
import contextlib
import ftplib
import os
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from agent.frame import Item, ItemType
from agent.media import wire
from agent.server.app import CameraServer
from agent.server.ingest import upload, websocket
from tests.server.agents import Uplinks
from tests.server.conftest import Start
from tests.server.people import invited, owner
from tests.server.pictures import jpeg

ROOM, UPLOAD = 1_000_000, 400_000


class Crowd:
    """A server with little room, and two cameras whose owners differ."""

    def __init__(self, server: CameraServer, porch: dict[str, Any], other: dict[str, Any]) -> None:
        self.server = server
        self.porch = porch
        self.other = other
        self._open: list[asyncio.StreamWriter] = []

    async def begin(self, path: str, body: bytes, header: str = "") -> asyncio.StreamReader:
        """An upload of two megabytes that does not go on after this much of its body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        self._open.append(writer)
        key = f"Authorization: Bearer {self.porch['token']}\r\n{header}"
        head = f"POST /v1/cam/porch/{path} HTTP/1.1\r\nHost: localhost\r\n{key}Content-Length: 2000000\r\n\r\n"
        writer.write(head.encode() + body)
        return reader

    async def holding(self, least: int, most: int = 10 * ROOM) -> None:
        """Wait until the account's uploads hold so much."""
        async with asyncio.timeout(60):
            while not least <= sum(self.server._intake.room.held.values()) <= most:
                await asyncio.sleep(0.02)

    async def others_do_not_notice(self) -> None:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {self.other['token']}"}) as http:
            assert (await http.put(self.other["upload_url"] + "a.jpg", data=jpeg(1))).status == 201

    async def leave(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        await self.holding(0, 0)
        assert not self.server._intake.room.held


@pytest.fixture
async def crowd(start: Start) -> AsyncIterator[Crowd]:
    server = await start(ftp_port=0)
    server._intake.room.most_bytes, server._intake.room.camera_bytes = ROOM, 0
    async with owner(server) as who, invited(server, who, "neighbour") as neighbour:
        crowd = Crowd(server, await who.add("porch"), await neighbour.add("shed"))
        yield crowd
        await crowd.leave()


FORM = "Content-Type: multipart/form-data; boundary=B\r\n"
FILE = b'--B\r\nContent-Disposition: form-data; name="a"; filename="a.jpg"\r\n\r\n'
PART = b"--P\r\nContent-Type: image/jpeg\r\nContent-Length: 1900000\r\n\r\n\xff\xd8\xff\xe0"


@pytest.mark.parametrize(
    ("path", "header", "before", "fit"),
    [("picture", "", b"", 2), ("picture", FORM, FILE, 2), ("mjpeg", "", PART, 1)],
    ids=["picture", "form", "stream"],
)
async def test_by_http(crowd: Crowd, path: str, header: str, before: bytes, fit: int) -> None:
    body = before + bytes(UPLOAD)
    for _ in range(fit):
        await crowd.begin(path, body, header)
    await crowd.holding(fit * UPLOAD * 3 // 4)  # of a form the newest bytes wait: the boundary may begin there
    before_it = sum(crowd.server._intake.room.held.values())
    reader = await crowd.begin(path, body, header)
    async with asyncio.timeout(60):
        assert b" 429 " in await reader.readline()
        assert b"Retry-After: " in await reader.readuntil(b"\r\n\r\n")
    await crowd.holding(0, max(before_it, fit * UPLOAD + 100))
    await crowd.others_do_not_notice()


async def test_a_camera_has_so_many_at_once(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "AT_ONCE", 2)
    for _ in range(2):
        await crowd.begin("picture", b"\xff")
    async with asyncio.timeout(60):
        await crowd.holding(2)
        assert b" 429 " in await (await crowd.begin("mjpeg", b"\xff")).readline()
    await crowd.others_do_not_notice()


async def test_by_ftp(crowd: Crowd) -> None:
    point = crowd.porch["ftp"]

    def begin(stack: contextlib.ExitStack) -> ftplib.FTP:
        client = ftplib.FTP(timeout=60)
        stack.callback(client.close)
        client.connect("127.0.0.1", crowd.server.ftp_port or 0)
        client.login(point["user"], point["password"])
        client.voidcmd("TYPE I")
        data = client.transfercmd("STOR a.jpg")
        stack.callback(data.close)
        data.sendall(b"\xff\xd8" + bytes(UPLOAD))
        return client

    def work(stack: contextlib.ExitStack) -> str:
        for _ in range(2):
            begin(stack)
        return begin(stack).getmultiline()

    with contextlib.ExitStack() as stack:
        assert (await asyncio.to_thread(work, stack)).startswith("450 ")
        await crowd.others_do_not_notice()


async def test_by_websocket(crowd: Crowd, connect: Uplinks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CROWDED_S", 0.2)
    payload = b"\xff\xd8" + os.urandom(2 * UPLOAD)
    crowd.server._intake.room.most_bytes = 1_300_000
    begun = []
    for parts in (1, 1, 3):
        uplink = await connect(crowd.server, "porch", crowd.porch["token"])
        await uplink.hello()
        item = Item("porch", uplink.spool, 1, ItemType.STILL, 0, 1, payload, Item.digest(payload))
        messages = list(wire.pack_item(item))
        for message in messages[:parts]:
            await uplink.ws.send_bytes(message)
        begun.append((uplink, messages[parts:]))
    (first, rest), (second, rest_too), (third, _) = begun
    assert await third.closed() == 1013
    await crowd.holding(1)
    for uplink, messages in ((first, rest), (second, rest_too)):
        for message in messages:
            await uplink.ws.send_bytes(message)
        await uplink.acked(1)
    await crowd.others_do_not_notice()


async def test_a_camera_has_so_many_sessions(crowd: Crowd, connect: Uplinks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "AT_ONCE", 1)
    uplink = await connect(crowd.server, "porch", crowd.porch["token"])
    await uplink.hello()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await connect(crowd.server, "porch", crowd.porch["token"])
    assert refused.value.status == 429
    await (await connect(crowd.server, "shed", crowd.other["token"])).hello()


async def test_many_that_wait_for_each_others_room_all_get_through(crowd: Crowd, connect: Uplinks) -> None:
    """As a fleet does that comes back with what it could not send."""
    payload = b"\xff\xd8" + os.urandom(UPLOAD)
    uplinks = [await connect(crowd.server, "porch", crowd.porch["token"]) for _ in range(8)]
    messages = []
    for uplink in uplinks:
        await uplink.hello()
        item = Item("porch", uplink.spool, 1, ItemType.STILL, 0, 1, payload, Item.digest(payload))
        messages.append(list(wire.pack_item(item)))
    for uplink, (first, *_) in zip(uplinks, messages, strict=True):
        await uplink.ws.send_bytes(first)
    await crowd.holding(ROOM)
    for uplink, (_, *rest) in zip(uplinks, messages, strict=True):
        for message in rest:
            await uplink.ws.send_bytes(message)
    async with asyncio.timeout(8):  # less than one is made to wait
        for uplink in uplinks:
            await uplink.acked(1)
