"""The server's port by its bytes: who gets in, who is sent away, what moving and closing do to who is there."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from agent.errors import UsageError
from agent.server.app import CameraServer
from tests.dispatch.rig import ask, descriptors
from tests.server.conftest import Start

GET = b"GET /login HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def test_a_client_that_ends_its_side_gets_its_answer(server: CameraServer) -> None:
    assert (await ask(server.port, GET, end=True)).startswith(b"HTTP/1.1 200 ")


async def test_a_request_byte_by_byte(server: CameraServer) -> None:
    pieces = (GET[i : i + 1] for i in range(len(GET)))
    assert (await ask(server.port, *pieces, end=True, pause_s=0.001)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (bytes(64), b""),
        (b"\x16\x03\x01\0\x05hello", b""),
        (b"SSH-2.0-x\r\n", b""),
        (b"GET /login HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET /a/..%2f..%2fetc HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"HTTP/1.1 400 "),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 400 "),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + GET, b""),
    ],
)
async def test_what_is_not_for_it_is_sent_away(server: CameraServer, data: bytes, said: bytes) -> None:
    before = descriptors()
    heard = await ask(server.port, data, end=True)
    assert heard.startswith(said) and bool(heard) == bool(said)
    assert (await ask(server.port, GET, end=True)).startswith(b"HTTP/1.1 200 ")
    assert descriptors() <= before


async def test_moving_to_the_network_keeps_who_is_connected(start: Start) -> None:
    server = await start(host="0.0.0.0")
    port, link = server.port, server.setup_link()
    assert link is not None
    other = _other_address()
    with pytest.raises(OSError):
        await asyncio.open_connection(other, port)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        words = {"password": "a long enough one", "again": "a long enough one"}
        assert (await http.post(link, data=words)).status == 200
        await asyncio.sleep(0.1)
        assert server.port == port
        writer.write(GET)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        there = await asyncio.open_connection(other, port)
        for one in (writer, there[1]):
            one.close()


def _other_address() -> str:
    """Of this machine, but not loopback as the server listens on it."""
    return "127.0.0.9"


async def test_closing_is_quick_with_idle_and_busy_clients(start: Start) -> None:
    server = await start(notes={})
    clients = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
    for _, writer in clients[:10]:
        writer.write(GET[:20])
    for _, writer in clients[15:]:
        writer.write(GET)
    await asyncio.sleep(0.05)
    begin = time.monotonic()
    await server.close()
    assert time.monotonic() - begin < 20
    for reader, writer in clients:
        try:
            await asyncio.wait_for(reader.read(), 60)
        except ConnectionError:
            pass
        writer.close()


async def test_counters_are_for_this_machine_and_the_owner(server: CameraServer) -> None:
    url = server.urls()[0] + "metrics"
    async with aiohttp.ClientSession() as http:
        for _ in range(2):
            async with http.get(url, headers={"Connection": "close"}) as answer:
                text = await answer.text()
                assert answer.status == 200 and answer.content_type == "text/plain"
        assert 'dispatch_connections_total{rule="http",service="http",end="done"} 1' in text
        async with http.get(url, headers={"X-Forwarded-For": "203.0.113.9"}) as answer:
            assert answer.status == 401


async def test_a_taken_port_is_said(start: Start) -> None:
    first = await start(notes={})
    with pytest.raises(UsageError, match="taken by another program; choose another") as caught:
        await start("second", notes={}, at=first.port)
    assert caught.value.exit_code == 75
