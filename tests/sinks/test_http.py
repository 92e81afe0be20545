"""HTTP upload to the real camera server, directly and through a stock nginx, and its answers to bad ones."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from agent.errors import GoneError, PermanentError, TransientError
from agent.frame import ItemType
from agent.outbox import MemoryOutbox
from agent.server.app import CameraServer
from agent.sinks import httpline
from agent.sinks.http import HttpSink
from agent.sinks.httpline import retry_after
from tests.server.conftest import server, start
from tests.server.pictures import put_event
from tests.sinks.answers import Scripted
from tests.sinks.line import Line
from tests.sinks.programs import nginx
from tests.sinks.runs import running

__all__ = ["server", "start"]


def still(box: MemoryOutbox, size: int) -> bytes:
    payload = b"\xff\xd8" + secrets.token_bytes(size - 2)
    box.put(ItemType.STILL, 0, time.time_ns(), payload)
    return payload


def files(server: CameraServer, box: MemoryOutbox) -> dict[str, bytes]:
    folder = server.settings.store_path / "items" / "porch" / box.spool
    return {p.name: p.read_bytes() for p in folder.rglob("*.*")}


async def test_an_event_arrives_byte_for_byte(server: CameraServer) -> None:
    box = MemoryOutbox("porch")
    sink = HttpSink(url=f"http://127.0.0.1:{server.port}", token=await server.issue_token("porch"))
    put_event(box, 1, time.time_ns())
    sent = {item.seq: item.payload for item, _ in box._items.values()}
    async with running(sink, box) as run:
        await run.drained()
        assert run.up.is_set()
    stored = files(server, box)
    assert {int(name.split(".")[0]): data for name, data in stored.items()} == sent
    assert {n.split(".")[1] for n in stored} == {"json", "clip"}


async def test_everything_goes_over_one_connection(server: CameraServer) -> None:
    box = MemoryOutbox("porch")
    token = await server.issue_token("porch")
    for size in (100, 200_000, 1_500_000, 300):
        still(box, size)
    async with Line(server.port) as line:
        async with running(HttpSink(url=f"http://127.0.0.1:{line.port}", token=token), box) as run:
            await run.drained()
        assert line.connections == 1
    assert len(files(server, box)) == 4


async def test_losses_are_declared_and_what_is_there_is_not_sent_again(server: CameraServer) -> None:
    box = MemoryOutbox("porch", max_bytes=2500)
    for _ in range(4):
        still(box, 1000)
    assert box.dropped() == [(1, 2, "quota")]
    sink = HttpSink(url=f"http://porch:{await server.issue_token('porch')}@127.0.0.1:{server.port}/")
    async with running(sink, box) as run:
        await run.drained()
        assert box.acked_items == 2
        assert server._archive is not None
        assert await server._archive.acks("porch", box.spool) == (4, [])
        assert box.dropped() == []


async def test_through_a_stock_nginx_big_items_go_in_parts(server: CameraServer, tmp_path: Path) -> None:
    box = MemoryOutbox("porch")
    token = await server.issue_token("porch")
    with nginx(tmp_path / "nginx", f"proxy_pass http://127.0.0.1:{server.port};") as port:
        sent = [still(box, n) for n in (30_000, 1_048_576, 1_048_577, 3_000_000)]
        async with running(HttpSink(url=f"http://127.0.0.1:{port}", token=token), box) as run:
            await run.drained()
    assert list(files(server, box).values()) == sent
    log = (tmp_path / "nginx" / "access.log").read_text()
    assert log.count("PATCH") == 2 + 3 and " 413 " not in log


async def test_parts_shrink_until_they_pass(server: CameraServer, tmp_path: Path) -> None:
    box = MemoryOutbox("porch")
    token = await server.issue_token("porch")
    location = f"proxy_pass http://127.0.0.1:{server.port}; client_max_body_size 100k;"
    with nginx(tmp_path / "nginx", location) as port:
        sent = [still(box, n) for n in (300_000, 700_000)]
        async with running(HttpSink(url=f"http://127.0.0.1:{port}", token=token), box) as run:
            await run.drained()
    assert list(files(server, box).values()) == sent
    log = (tmp_path / "nginx" / "access.log").read_text()
    assert 1 <= log.count(" 413 ") <= 4, "it learns once what passes"


async def test_a_cut_line_resumes_in_the_middle_of_an_item(server: CameraServer) -> None:
    box = MemoryOutbox("porch")
    token = await server.issue_token("porch")
    payload = still(box, 5_000_000)
    brought = 0

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int) -> None:
        nonlocal brought
        there, back = await asyncio.open_connection("127.0.0.1", server.port)

        async def down() -> None:
            while data := await there.read(65536):
                writer.write(data)

        task = asyncio.create_task(down())
        while left > 0 and (data := await reader.read(65536)):
            left -= len(data)
            brought += len(data)
            back.write(data)
            await back.drain()
        back.close()
        writer.transport.abort()
        task.cancel()

    proxy = await asyncio.start_server(lambda r, w: cut(r, w, 2_300_000), "127.0.0.1", 0)
    sink = HttpSink(url=f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}", token=token)
    async with proxy, running(sink, box) as run:
        errors = 0
        while box.bytes and errors < 10:
            try:
                await run.drained()
            except TransientError:
                errors += 1
                await run.again()
    assert list(files(server, box).values()) == [payload]
    assert errors >= 2 and brought < 6_500_000, "each try went on where the one before ended"


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"token": "wrong"}, PermanentError, "refuses the login (401)"),
        ({"url": "http://127.0.0.1:{port}/elsewhere"}, PermanentError, "has no camera 'porch' for this token (404)"),
        ({"url": "http://127.0.0.1:1"}, TransientError, "refused"),
        ({"token_file": "/nowhere/token"}, PermanentError, "/nowhere/token: No such file"),
        ({"ca_file": "/nowhere/ca"}, PermanentError, "ca_file /nowhere/ca"),
    ],
)
async def test_what_stands_in_the_way_is_said(
    server: CameraServer, change: dict[str, str], kind: type[Exception], says: str
) -> None:
    settings = {"url": "http://127.0.0.1:{port}", "token": await server.issue_token("porch")} | change
    sink = HttpSink(**{k: v.format(port=server.port) for k, v in settings.items()})
    async with running(sink, MemoryOutbox("porch")) as run:
        error = await run.ended()
        assert not run.up.is_set()
    assert isinstance(error, kind) and says in str(error)
    assert str(error).startswith(sink.label) and settings["token"] not in str(error)
    assert settings["token"] not in repr(sink)


async def test_a_deleted_camera_ends_it(server: CameraServer) -> None:
    box = MemoryOutbox("porch")
    sink = HttpSink(url=f"http://127.0.0.1:{server.port}", token=await server.issue_token("porch"))
    async with running(sink, box) as run:
        await run.up.wait()
        await server.delete_camera("porch")
        still(box, 100)
        error = await run.ended()
    assert isinstance(error, GoneError) and "410" in str(error)
    assert len(box) == 1, "the item is kept"
    async with running(sink, box) as run:
        assert isinstance(await run.ended(), GoneError), "and at the first question, too"


def once(status: int, **more: str) -> Callable[[web.Request], web.Response | None]:
    """Answers the first PUT with this."""
    left = [1]

    def answer(request: web.Request) -> web.Response | None:
        if request.method != "PUT" or not left:
            return None
        left.pop()
        return web.json_response(more, status=status, headers={"Retry-After": "120"} if status == 503 else {})

    return answer


@pytest.mark.parametrize(
    ("status", "more", "kept", "wait_s"),
    [
        (503, {}, True, 120),
        (507, {}, True, 0),
        (500, {}, True, 0),
        (429, {}, True, 0),
        (400, {"code": "digest"}, True, 0),
    ],
)
async def test_answers_that_mean_later(status: int, more: dict[str, str], kept: bool, wait_s: float) -> None:
    box = MemoryOutbox("porch")
    answer = once(status, **more)

    async def asked(request: web.Request) -> web.Response | None:
        return answer(request)

    still(box, 100)
    async with Scripted(asked) as other, running(HttpSink(url=f"http://127.0.0.1:{other.port}"), box) as run:
        error = await run.ended()
        assert isinstance(error, TransientError) and error.wait_s == wait_s
        assert len(box) == 1, "it is kept"
        await run.again()
        await run.drained()


@pytest.mark.parametrize(("status", "code"), [(409, "conflict"), (415, "type"), (400, "header"), (413, "size")])
async def test_answers_that_mean_never(status: int, code: str, caplog: pytest.LogCaptureFixture) -> None:
    box = MemoryOutbox("porch")
    answer = once(status, code=code)

    async def asked(request: web.Request) -> web.Response | None:
        return answer(request)

    still(box, 100)
    still(box, 101)
    async with Scripted(asked) as other, running(HttpSink(url=f"http://127.0.0.1:{other.port}"), box) as run:
        await run.drained()
    assert (box.dropped_items, box.acked_items) == (1, 1)
    assert f"item 1 is refused ({status} {code})" in caplog.text


async def test_a_redirect_is_not_followed_with_the_token() -> None:
    async def asked(request: web.Request) -> web.Response | None:
        return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})

    box = MemoryOutbox("porch")
    async with Scripted(asked) as other, running(HttpSink(url=f"http://127.0.0.1:{other.port}"), box) as run:
        error = await run.ended()
    assert isinstance(error, PermanentError) and "redirects (302)" in str(error)
    assert len(other.asked) == 1


async def test_a_server_of_another_kind_is_noticed_before_anything_is_sent() -> None:
    async def asked(request: web.Request) -> web.Response | None:
        return web.Response(text="<html>hello</html>")

    box = MemoryOutbox("porch")
    still(box, 100)
    async with Scripted(asked) as other, running(HttpSink(url=f"http://127.0.0.1:{other.port}"), box) as run:
        error = await run.ended()
    assert isinstance(error, PermanentError) and "no camera server" in str(error)
    assert len(box) == 1 and len(other.asked) == 1


async def test_silence_is_given_up_but_slow_progress_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpline, "PROGRESS_S", 1.0)

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reads 20 kB at a time with naps, answers each request, but none with a body of 100 bytes."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
                if length == 100:
                    await asyncio.sleep(60)
                for at in range(0, length, 20_000):
                    await reader.readexactly(min(20_000, length - at))
                    await asyncio.sleep(0.05)
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"ack":0,"have":[]}')
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)  # or the kernel takes it all at once
    server = await asyncio.start_server(slow, sock=listening, limit=20_000)
    box = MemoryOutbox("porch")
    still(box, 1_000_000)
    begin = time.monotonic()
    sink = HttpSink(url=f"http://127.0.0.1:{listening.getsockname()[1]}")
    async with server, running(sink, box) as run:
        await run.drained()
        assert time.monotonic() - begin > 2 * httpline.PROGRESS_S
        still(box, 100)
        error = await run.ended()
    assert isinstance(error, TransientError) and "no progress" in str(error)


def test_retry_after() -> None:
    assert retry_after("") == 0 and retry_after("soon") == 0 and retry_after("-5") == 0
    assert retry_after("²") == 0 and retry_after("Wed, 21 Oct 2015 07:28:00 +99999999999999") == 0
    assert retry_after("7") == 7 and retry_after("99999999") == 3600
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert 3000 < retry_after("Wed, 21 Oct 2115 07:28:00 GMT") <= 3600
