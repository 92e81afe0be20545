"""Keep-alive and request smuggling at a port with several backends: nothing reaches a service it was not judged for."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from agent.dispatch.framing import Chunked, Malformed, with_close
from agent.dispatch.matchers import Http
from agent.dispatch.peek import Route
from agent.dispatch.records import End
from agent.dispatch.relay import Relay
from tests.dispatch.rig import Rig, ask, backend, http_backend, running

HOST = b"Host: x\r\n"
SECRET = b"GET /b/secret HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
HEADS = {
    "both lengths, chunked last": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    "both lengths, chunked first": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(SECRET),
    "a list of lengths": b"Content-Length: 0, 0\r\n",
    "a signed length": b"Content-Length: +0\r\n",
    "a hexadecimal length": b"Content-Length: 0x4\r\n",
    "chunked after identity": b"Transfer-Encoding: identity, chunked\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "chunked in disguise": b"Transfer-Encoding: xchunked\r\n",
    "chunked after a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n",
    "a space before the colon": b"Transfer-Encoding : chunked\r\n",
    "a folded line": b"X: a\r\n Transfer-Encoding: chunked\r\n",
    "a bare carriage return": b"X: a\rTransfer-Encoding: chunked\r\n",
    "a bare line feed": b"X: a\nTransfer-Encoding: chunked\r\n",
    "a NUL": b"X: a\0\r\n",
    "a second host": b"Host: y\r\n",
    "a name with a space": b"Transfer Encoding: chunked\r\n",
    "a line without a colon": b"nonsense\r\n",
}
BODIES = {
    "a signed size": b"+0\r\n\r\n",
    "a size with 0x": b"0x0\r\n\r\n",
    "a size of nothing": b"\r\n\r\n",
    "a size too long": b"0" * 17 + b"1\r\nx\r\n0\r\n\r\n",
    "bare line feeds": b"0\n\n",
    "a chunk longer than its size": b"1\r\nxx\r\n0\r\n\r\n",
    "a carriage return in an extension": b"0;a\rb\r\n\r\n",
    "a trailer without a colon": b"0\r\nnonsense\r\n\r\n",
    "a bare line feed in a trailer": b"0\r\nX: 1\n\r\n",
    "an endless size line": b"0;" + b"x" * 3000,
}


@pytest.fixture(params=["close", "framed", "auto"])
async def port(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """/a is anybody's, /b should hear of nothing."""
    heard: list[bytes] = []

    async def b_hears(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))

    routes = [Route("a", "a", (Http(paths=("/a",)),)), Route("b", "b", (Http(paths=("/b",)),))]
    async with backend(http_backend("A")) as a, backend(b_hears) as b:
        services = {"a": Relay("127.0.0.1", a, http=request.param), "b": Relay("127.0.0.1", b)}
        async with running(routes, services) as rig:
            yield rig
    assert heard == []


@pytest.mark.parametrize("name", HEADS)
async def test_a_doubtful_head_is_400_and_a_close(port: Rig, name: str) -> None:
    said = await ask(port.port, b"POST /a HTTP/1.1\r\n" + HOST + HEADS[name] + b"\r\n" + b"0\r\n\r\n" + SECRET)
    assert said.startswith(b"HTTP/1.1 400 ") and said.count(b"HTTP/1.1") == 1
    assert (await port.ended())[0].end is End.REFUSED


@pytest.mark.parametrize("name", BODIES)
async def test_a_doubtful_chunk_is_400_and_a_close(port: Rig, name: str) -> None:
    said = await ask(port.port, CHUNKED + BODIES[name], SECRET, pause_s=0.01)
    assert said.startswith(b"HTTP/1.1 400 ") and said.count(b"HTTP/1.1") == 1
    assert (await port.ended())[0].end is End.REFUSED


async def test_the_connection_fields_cannot_hide_a_field(port: Rig) -> None:
    said = await ask(port.port, b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close, Host\r\n\r\n" + SECRET)
    assert said.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("mode", ["close", "framed"])
async def test_one_connection_changes_between_prefixes(mode: str) -> None:
    """A client session that goes on, and pipelined requests, never get the other backend's answer."""
    routes = [Route("a", "a", (Http(paths=("/a",)),)), Route("b", "b", (Http(paths=("/b",)),))]
    async with backend(http_backend("A")) as a, backend(http_backend("B")) as b:
        services = {"a": Relay("127.0.0.1", a, http=mode), "b": Relay("127.0.0.1", b, http=mode)}
        async with running(routes, services) as rig:
            async with ClientSession(f"http://127.0.0.1:{rig.port}") as client:
                for number, path in enumerate(("/a/1", "/b/1", "/a/2", "/b/2")):
                    async with client.post(path, data=bytes(number * 70_000)) as answer:
                        assert await answer.text() == f"{path[1].upper()} {path} {number * 70_000}\n"
            piped = b"".join(b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % p for p in (b"a/1", b"b/2", b"a/3"))
            said = await ask(rig.port, piped + CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + SECRET)
            bodies = [line for line in said.splitlines() if line[:2] in (b"A ", b"B ")]
            whole = [b"A /a/1 0", b"B /b/2 0", b"A /a/3 0", b"A /a 3", b"B /b/secret 0"]
            assert bodies == (whole if mode == "framed" else whole[:1])


async def test_framed_answers_that_have_no_body() -> None:
    """HEAD, 204, 304 and interim answers end where they end; the next request finds its own service."""

    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            path = head.split(b" ")[1]
            answers = {
                b"/head": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
                b"/204": b"HTTP/1.1 204 No Content\r\n\r\n",
                b"/304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
                b"/100": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                b"/chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: 1\r\n\r\n",
            }
            writer.write(answers[path])

    async with (
        backend(odd) as b,
        running([Route("r", "b", (Http(),))], {"b": Relay("127.0.0.1", b, http="framed")}) as rig,
    ):
        asked = b"HEAD /head HTTP/1.1\r\nHost: x\r\n\r\n"
        asked += b"".join(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % p for p in (b"/204", b"/304", b"/100", b"/chunks"))
        said = await ask(rig.port, asked, end=True)
        assert [part[:3] for part in said.split(b"HTTP/1.1 ")[1:]] == [b"200", b"204", b"304", b"100", b"200", b"200"]
        assert (await rig.ended())[0].requests == 5


async def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + bytes(100_000))

    async with (
        backend(old) as b,
        running([Route("r", "b", (Http(),))], {"b": Relay("127.0.0.1", b, http="framed")}) as rig,
    ):
        said = await ask(rig.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + SECRET)
        assert len(said) == 100_000 + len(b"HTTP/1.0 200 OK\r\n\r\n")


@pytest.mark.parametrize("splice", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
async def test_framed_bulk_ends_at_the_right_byte(chunked: bool, splice: bool) -> None:
    """Both ways, past where the kernel moves the bytes, with a second request right behind the first."""
    data = random.Random(2).randbytes(1 << 20) * 5
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data) if chunked else data
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(data)

    async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                got = await reader.readexactly(len(body))
                writer.write(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n" + got)
                await writer.drain()

    async with backend(mirror) as b:
        service = Relay("127.0.0.1", b, http="framed", splice=splice)
        async with running([Route("r", "b", (Http(),))], {"b": service}) as rig:
            asked = b"PUT / HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n\r\n" + body
            said = await ask(rig.port, asked * 2, end=True, timeout_s=30)
            answer = b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n" + body
            assert hashlib.sha256(said).digest() == hashlib.sha256(answer * 2).digest()
            assert (await rig.ended())[0].requests == 2


@pytest.mark.parametrize("mode", ["auto", "close", "framed"])
async def test_an_upgrade_becomes_a_tunnel_and_a_declined_one_does_not(mode: str) -> None:
    async def upgrades(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/yes" not in head:
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno")
            assert await reader.read() == b""
            return
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\0first")
        while data := await reader.read(1000):
            writer.write(data)

    async with (
        backend(upgrades) as b,
        running([Route("r", "b", (Http(),))], {"b": Relay("127.0.0.1", b, http=mode)}) as rig,
    ):
        head = b"GET /yes HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        assert (await ask(rig.port, head + b"\0\x81glued", end=True)).endswith(b"\r\n\r\n\0first\0\x81glued")
        declined = await ask(rig.port, head.replace(b"/yes", b"/no!") + b"\x81glued")
        assert declined.endswith(b"\r\n\r\nno") and declined.count(b"HTTP/1.1") == 1


def test_every_cut_of_a_chunked_body_ends_at_the_same_place() -> None:
    body = b"5;x=y\r\nhello\r\n1\r\n\0\r\n000\r\nA: b\r\n\r\n"
    for cut in range(len(body) + 1):
        reader = Chunked()
        taken = 0
        for piece in (body[:cut], body[cut:] + SECRET):
            taken += reader.take(memoryview(piece))
        assert (taken, reader.done) == (len(body), True)


@pytest.mark.parametrize("name", BODIES)
def test_every_cut_of_a_bad_body_is_malformed(name: str) -> None:
    body = BODIES[name] + SECRET
    for cut in range(len(body) + 1):
        reader = Chunked()
        with pytest.raises(Malformed):
            for piece in (body[:cut], body[cut:]):
                reader.take(memoryview(piece))
            assert not reader.done
            raise Malformed


def test_with_close_changes_the_connection_fields_only() -> None:
    head = b"\r\nGET /a HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\nX:  y \r\n\r\n"
    assert with_close(head) == b"GET /a HTTP/1.1\r\nHost: x\r\nX:  y \r\nConnection: close\r\n\r\n"
