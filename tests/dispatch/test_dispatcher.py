"""The port as clients see it: the thirteen cases, and services inside this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web

from agent.dispatch.http import http_service
from agent.dispatch.matchers import Http, Silence
from agent.dispatch.peek import Route
from agent.dispatch.records import End
from agent.dispatch.relay import Relay
from tests.dispatch.rig import Rig, ask, backend, http_backend, running

GREETING = b"220 ready\r\n"


async def greeter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(GREETING)
    while line := await reader.readline():
        writer.write(b"500 " + line)


@pytest.fixture
async def port() -> AsyncIterator[Rig]:
    """/a and /b at two backends, a greeting for the silent."""
    routes = (
        Route("a", "a", (Http(paths=("/a",)),)),
        Route("b", "b", (Http(paths=("/b",)),)),
        Route("silent", "ftp", (Silence(),)),
    )
    async with (
        backend(http_backend("A")) as a,
        backend(http_backend("B")) as b,
        backend(greeter) as ftp,
        running(
            routes,
            {
                "a": Relay("127.0.0.1", a, http="framed"),
                "b": Relay("127.0.0.1", b),
                "ftp": Relay("127.0.0.1", ftp),
            },
        ) as rig,
    ):
        yield rig


def request(path: str, extra: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{extra}\r\n".encode()


async def test_routes_by_prefix(port: Rig) -> None:
    assert b"A /a/1 0" in await ask(port.port, request("/a/1"), end=True)
    assert b"B /b/1 0" in await ask(port.port, request("/b/1"))


async def test_byte_by_byte(port: Rig) -> None:
    data = request("/b/1")
    assert b"B /b/1 0" in await ask(port.port, *(data[i : i + 1] for i in range(len(data))), pause_s=0.001)


async def test_silent_clients_are_greeted(port: Rig) -> None:
    assert await ask(port.port, pause_s=0, end=True) == GREETING
    reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
    assert await reader.readline() == GREETING
    writer.write(b"NOOP\r\n")
    assert await reader.readline() == b"500 NOOP\r\n"
    writer.close()
    records = await port.ended(2)
    assert {r.rule for r in records} == {"silent"}


async def test_keep_alive_reaches_the_right_service(port: Rig) -> None:
    async with ClientSession(f"http://127.0.0.1:{port.port}") as client:
        for path in ("/a/1", "/b/1", "/a/2", "/b/2"):
            async with client.get(path) as answer:
                assert await answer.text() == f"{path[1].upper()} {path} 0\n"


async def test_pipelined_requests_go_their_own_ways(port: Rig) -> None:
    said = await ask(port.port, request("/a/1") + request("/a/2") + request("/b/3") + request("/a/4"))
    bodies = [line for line in said.decode().splitlines() if line[:3] in ("A /", "B /")]
    assert bodies == ["A /a/1 0", "A /a/2 0", "B /b/3 0"]


async def test_garbage_is_refused(port: Rig) -> None:
    assert await ask(port.port, bytes(64)) == b""
    assert (await port.ended())[0].end is End.REFUSED


async def test_in_process_application() -> None:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=f"{len(await request.read())}")

    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{tail:.*}", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    async with running([Route("web", "web", (Http(),))], {"web": http_service(runner)}) as rig:
        async with ClientSession(f"http://127.0.0.1:{rig.port}") as client:
            for size in (0, 1, 300_000):
                async with client.post("/", data=bytes(size)) as answer:
                    assert await answer.text() == str(size)
        assert (await ask(rig.port, request("/"), end=True)).endswith(b"\r\n\r\n0")
        three = await ask(rig.port, request("/") * 3, end=True)
        assert three.count(b"200 OK") == 3
        records = await rig.ended(3)
        assert records[0].rule == "web" and records[0].in_bytes and records[0].in_bytes > 300_000
    await runner.cleanup()
