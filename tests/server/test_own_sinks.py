"""Our own agent's ways out into our own server: by FTP as any camera, and by HTTP."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from agent.errors import PermanentError, TransientError
from agent.frame import ItemType
from agent.hub import Hub
from agent.media import clip
from agent.outbox import MemoryOutbox
from agent.sinks import Feed
from agent.sinks.ftp import FtpSink
from agent.sinks.http import HttpSink
from agent.sinks.websocket import WebSocketSink
from agent.trust import forget_certificates
from tests.server.conftest import Start
from tests.server.pictures import frame, put_event
from tests.server.test_ftp import files
from tests.server.test_ways_in import stored

__all__ = ["files"]


@pytest.mark.parametrize("way", ["ftp", "ftp active", "ftps", "http", "https", "wss"])
async def test_an_event_arrives_whole(start: Start, files: tuple[str, str], tmp_path: Path, way: str) -> None:
    tls = {"tls_cert": files[0], "tls_key": files[1]} if way in ("ftps", "https", "wss") else {}
    server = await start(notes={}, ftp_port=0, **tls)
    keys = await server.issue_keys("porch")
    box = MemoryOutbox("porch")
    pictures = put_event(box, 1, time.time_ns())
    sink: FtpSink | HttpSink | WebSocketSink
    if way == "wss":
        sink = WebSocketSink(url=f"wss://127.0.0.1:{server.port}", token=keys.token, ca_file=files[0])
    elif way.startswith("http"):
        sink = HttpSink(url=f"{way}://127.0.0.1:{server.port}", token=keys.token, ca_file=files[0] if tls else None)
    else:
        sink = FtpSink(
            url=f"ftp://127.0.0.1:{server.ftp_port}/cam",
            username=keys.login,
            password=keys.password,
            tls="explicit" if way == "ftps" else "none",
            ca_file=files[0] if way == "ftps" else None,
            active=way == "ftp active",
        )
    task = asyncio.create_task(sink.run(Feed("porch", box, Hub())))
    async with asyncio.timeout(60):
        while len(await stored(server)) < len(pictures):
            assert not task.done(), task.exception()
            await asyncio.sleep(0.05)
        await box.drained()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sorted(data for data, _ in await stored(server)) == sorted(pictures)


async def test_what_the_server_never_takes_holds_up_nothing_behind_it(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start(notes={}, ftp_port=0)
    keys = await server.issue_keys("porch")
    box = MemoryOutbox("porch")
    box.put(ItemType.CLIP, 1, time.time_ns(), clip.pack((replace(frame(1), data=b"\0" * 5000),)))
    pictures = put_event(box, 2, time.time_ns())
    sink = FtpSink(url=f"ftp://{keys.login}:{keys.password}@127.0.0.1:{server.ftp_port}", tls="none")
    task = asyncio.create_task(sink.run(Feed("porch", box, Hub())))
    async with asyncio.timeout(60):
        await box.drained()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sorted(data for data, _ in await stored(server)) == sorted(pictures)
    assert [r.message for r in caplog.records if "Not kept: not a JPEG" in r.message and r.message.endswith("given up")]
    caplog.clear()


@pytest.mark.parametrize("way", ["https", "wss"])
async def test_who_trusts_nobody_in_particular_is_refused(start: Start, files: tuple[str, str], way: str) -> None:
    """With aiohttp's own certificates given back, TLS is refused, not left out."""
    forget_certificates()
    server = await start(notes={}, tls_cert=files[0], tls_key=files[1])
    url = f"{way}://127.0.0.1:{server.port}"
    sink = HttpSink(url=url, token="x") if way == "https" else WebSocketSink(url=url, token="x")
    box = MemoryOutbox("porch")
    put_event(box, 1, time.time_ns())
    with pytest.raises((PermanentError, TransientError), match="certificate"):
        await asyncio.wait_for(sink.run(Feed("porch", box, Hub())), 20)
    async with aiohttp.ClientSession() as plain:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await plain.get(f"https://127.0.0.1:{server.port}/health")
