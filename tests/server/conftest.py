"""A real camera server on a free port of this machine, with a store of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.server.app import CameraServer, ServerSettings
from tests.server.agents import Uplinks
from tests.server.journals import Bench

Start = Callable[..., Awaitable[CameraServer]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`await start(notes={}, ...)`: a server that is closed after the test; `at`: its port."""
    servers: list[CameraServer] = []

    async def run(store: str = "store", durable: bool = False, at: int = 0, **more: Any) -> CameraServer:
        kept = {k: more.pop(k) for k in ("notes", "clock") if k in more}
        server = CameraServer(ServerSettings(port=at, store=str(tmp_path / store), **more), durable=durable, **kept)
        servers.append(server)
        await server.start()
        return server

    yield run
    for server in servers:
        await server.close()


@pytest.fixture
async def server(start: Start) -> CameraServer:
    """A temporary server, entered by links."""
    return await start(notes={})


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that keeps cookies also of an address."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


@pytest.fixture
async def viewer(server: CameraServer, http: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """A client that came by a link."""
    answer = await http.get(server.urls()[0].rstrip("/") + server.join_link())
    assert answer.status == 200
    return http


@pytest.fixture
async def connect() -> AsyncIterator[Uplinks]:
    """`await connect(server, camera, token)`: an uplink that is closed after the test."""
    uplinks = Uplinks()
    yield uplinks
    await uplinks.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """An archive with a camera and journals for it, in `store` beside those of servers."""
    one = Bench(tmp_path / "store")
    yield one
    await one.close()
