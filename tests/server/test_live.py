"""Live view with credits: what a viewer is sent, when, and what a stuck one costs the others."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace

import aiohttp
import pytest

from agent.frame import Frame
from agent.media import wire
from agent.server.app import CameraServer
from agent.server.camera import Camera
from tests.server import pictures as made


def frame(n: int) -> Frame:
    """The camera's picture `n`: ten a second by its own time."""
    return replace(made.frame(n), pts_ns=n * 100_000_000)


class Socket:
    """A viewer that writes its frames itself, as it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, server: CameraServer, http: aiohttp.ClientSession, window: int = 0) -> Socket:
        sock = socket.socket()
        if window:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        sock.connect(("127.0.0.1", server.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
        [cookie] = list(http.cookie_jar)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /api/v1/cameras/porch/live HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie.key}={cookie.value}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            "\r\n".encode()
        )
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer)

    def credit(self, n: int) -> None:
        self.writer.write(text(b'{"t":"live","n":%d}' % n))

    async def next(self) -> wire.LiveMessage:
        while True:
            opcode, body = await self._frame()
            if opcode == 2:
                message = wire.unpack(body)
                assert isinstance(message, wire.LiveMessage)
                return message

    async def _frame(self) -> tuple[int, bytes]:
        first, size = await self._reader.readexactly(2)
        assert first & 0x80 and not size & 0x80, "whole, and a server masks nothing"
        if size >= 126:
            size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
        return first & 15, await self._reader.readexactly(size)

    async def nothing(self) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await self.next()


Open = Callable[..., Awaitable["Socket"]]


def text(body: bytes, first: int = 0x81) -> bytes:
    """A masked frame."""
    mask = os.urandom(4)
    return bytes((first, 0x80 | len(body))) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(body))


@pytest.fixture
async def camera(server: CameraServer) -> Camera:
    await server.issue_keys("porch")
    camera = server._cameras.get("porch")
    assert camera is not None
    camera.sessions = 1
    return camera


@pytest.fixture
def pictures(camera: Camera) -> Iterator[Frame]:
    """Ten a second by their own time, published by `next`."""

    def publish() -> Iterator[Frame]:
        for n in range(10_000):
            picture = frame(n)
            camera.publish(picture)
            yield picture

    return publish()


@pytest.fixture
async def open_(server: CameraServer, viewer: aiohttp.ClientSession) -> AsyncIterator[Open]:
    """`await open_()`: a viewer, closed after the test."""
    sockets: list[Socket] = []

    async def run(window: int = 0) -> Socket:
        sockets.append(await Socket.open(server, viewer, window))
        return sockets[-1]

    yield run
    for one in sockets:
        one.writer.transport.abort()


async def looked_at(camera: Camera, readers: int = 1) -> None:
    async with asyncio.timeout(60):
        while camera.hub.readers != readers:
            await asyncio.sleep(0.01)


async def test_a_picture_for_each_credit_and_the_newest(open_: Open, camera: Camera, pictures: Iterator[Frame]) -> None:
    look = await open_()
    look.credit(2)
    await looked_at(camera)
    async with asyncio.timeout(60):
        for _ in range(2):
            assert (await _next(look, pictures)).index < 2
        skipped = [next(pictures) for _ in range(5)]
        await look.nothing()
        look.credit(1)
        got = await look.next()
        assert (got.index, bytes(got.data)) == (skipped[-1].index, skipped[-1].data), "the newest of those that waited"
        await look.nothing()
        look.credit(50)
        for _ in range(40):
            next(pictures)
            await asyncio.sleep(0.01)
        assert [(await look.next()).index for _ in range(32)] == list(range(7, 39)), "32 at most are owed"
        await look.nothing()
    look.writer.close()
    await looked_at(camera, 0)


async def _next(look: Socket, pictures: Iterator[Frame]) -> wire.LiveMessage:
    next(pictures)
    return await look.next()


async def test_credits_in_pieces_and_in_heaps(open_: Open, camera: Camera, pictures: Iterator[Frame]) -> None:
    look = await open_()
    one = b'{"t":"live","n":1}'
    async with asyncio.timeout(60):
        look.writer.write(text(b"", 0x89) + text(one) + text(b"not json") + text(b"[]") + text(one) + text(b"x", 0x89))
        await looked_at(camera)
        for n in range(2):
            assert (await _next(look, pictures)).index == n
        whole = text(one)
        for i in range(len(whole)):
            look.writer.write(whole[i : i + 1])
            await asyncio.sleep(0.01)
        assert (await _next(look, pictures)).index == 2
        look.writer.write(text(one[:5], 0x01))
        await asyncio.sleep(0.05)
        look.writer.write(text(one[5:], 0x80) + text(one))
        await asyncio.sleep(0.05)
        for n in (3, 4):
            assert (await _next(look, pictures)).index == n
        next(pictures)
        await look.nothing()


async def test_what_looks_like_a_credit_inside_another_message_is_none(
    open_: Open, camera: Camera, pictures: Iterator[Frame]
) -> None:
    look = await open_()
    inside = text(b'{"t":"live","n":1}')
    look.writer.write(bytes((0x82, 0x80 | len(inside), 0, 0, 0, 0)))
    await asyncio.sleep(0.1)
    look.writer.write(inside)
    await asyncio.sleep(0.1)
    next(pictures)
    await look.nothing()
    look.credit(1)
    async with asyncio.timeout(60):
        assert (await look.next()).index == 0


async def test_none_takes_back_what_was_given(open_: Open, camera: Camera, pictures: Iterator[Frame]) -> None:
    look = await open_()
    look.writer.write(text(b'{"t":"live","n":4}') + text(b'{"t":"live","n":0}'))
    await asyncio.sleep(0.2)
    next(pictures)
    await look.nothing()


async def test_who_gives_no_credit_is_not_counted_as_a_reader_for_long(
    open_: Open, camera: Camera, pictures: Iterator[Frame]
) -> None:
    look = await open_()
    look.credit(1)
    await looked_at(camera)
    async with asyncio.timeout(60):
        await _next(look, pictures)
        await looked_at(camera, 0)
        latest = next(pictures)
        look.credit(1)
        assert (await look.next()).index == latest.index


async def test_a_camera_whose_clock_goes_back_is_shown_on(open_: Open, camera: Camera) -> None:
    look = await open_()
    look.credit(4)
    await looked_at(camera)
    async with asyncio.timeout(60):
        camera.publish(frame(5000))
        assert (await look.next()).index == 5000
        camera.publish(frame(1))
        assert (await look.next()).index == 1
        camera.publish(frame(2))
        camera.publish(frame(3))
        assert [(await look.next()).index for _ in range(2)] == [2, 3], "at its pace, not at that of the old clock"


async def test_a_stuck_viewer_takes_nothing_from_the_others(
    open_: Open, camera: Camera, pictures: Iterator[Frame]
) -> None:
    stuck, look = await open_(window=4096), await open_()
    await looked_at(camera, 0)
    async with asyncio.timeout(60):
        for n in range(100):
            stuck.credit(4)
            look.credit(4)
            if n == 0:
                await looked_at(camera, 2)
            assert (await _next(look, pictures)).index == n
