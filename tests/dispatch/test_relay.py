"""Connections relayed to other processes: every byte, every way of ending, backends that are late or not there."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import socket
import struct
from pathlib import Path

import pytest

from agent.dispatch import flow
from agent.dispatch.matchers import Any, Http
from agent.dispatch.peek import Route
from agent.dispatch.records import End
from agent.dispatch.relay import Relay
from agent.dispatch.services import Pass
from tests.dispatch.rig import ask, backend, descriptors, echo, http_backend, running
from tests.ports import free_port

ALL = [Route("all", "b", (Any(),))]
WEB = [Route("web", "b", (Http(paths=("/",)),))]
NULS = b"\0\0a\0b\xff\0" * 3


async def test_bytes_pass_unchanged_and_half_close_is_forwarded() -> None:
    async with backend(echo) as b, running(ALL, {"b": Relay("127.0.0.1", b)}) as rig:
        sent = NULS + os.urandom(200_000)
        assert await ask(rig.port, sent[:1], sent[1:], end=True) == sent
        record = (await rig.ended())[0]
        assert (record.in_bytes, record.out_bytes, record.end) == (len(sent), len(sent), End.CLIENT)


async def test_an_answer_after_the_clients_end_still_arrives() -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await reader.read()
        await asyncio.sleep(0.2)
        writer.write(b"heard %d" % len(said))

    async with backend(late) as b, running(ALL, {"b": Relay("127.0.0.1", b)}) as rig:
        assert await ask(rig.port, b"hello", end=True) == b"heard 5"


@pytest.mark.parametrize("splice", [True, False])
async def test_bulk_is_the_same_spliced_and_copied(splice: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    size, pieces, used = 24 << 20, random.Random(1), []
    real = os.splice
    monkeypatch.setattr(os, "splice", lambda *a, **k: used.append(1) or real(*a, **k))
    data = pieces.randbytes(1 << 20) * (size >> 20)

    async def download(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        for at in range(0, size, 777_777):
            writer.write(data[at : at + 777_777])
            await writer.drain()

    async with backend(download) as b, running(ALL, {"b": Relay("127.0.0.1", b, splice=splice)}) as rig:
        got = await ask(rig.port, b"x", timeout_s=30)
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
    assert bool(used) == splice


async def test_a_slow_reader_holds_the_backend_back() -> None:
    """What lies in the dispatcher is one buffer; the rest waits in the kernel, bounded."""
    written = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        while written < 200 << 20:
            writer.write(bytes(1 << 16))
            await writer.drain()
            written += 1 << 16

    async with backend(flood) as b, running(ALL, {"b": Relay("127.0.0.1", b)}) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, limit=1024)
        writer.write(b"x")
        for before in iter(lambda: written, None):
            await asyncio.sleep(0.2)
            if written == before > 0:
                break
        assert written < 64 << 20
        writer.transport.abort()
        assert (await rig.ended())[0].end is End.RESET
        assert reader.exception() is None


async def test_slow_reader_of_the_backend_holds_the_client_back() -> None:
    gate = asyncio.Event()

    async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        got = 0
        while data := await reader.read(1 << 20):
            got += len(data)
        writer.write(b"%d" % got)

    async with backend(stuck) as b, running(ALL, {"b": Relay("127.0.0.1", b)}) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(bytes(96 << 20))
        await asyncio.sleep(0.3)
        assert writer.transport.get_write_buffer_size() > 32 << 20
        gate.set()
        writer.write_eof()
        assert await reader.read() == b"%d" % (96 << 20)
        writer.close()


@pytest.mark.parametrize("mode", ["auto", "close", "framed"])
async def test_an_absent_backend_is_a_502(mode: str) -> None:
    port = free_port()
    async with running(WEB, {"b": Relay("127.0.0.1", port, http=mode)}) as rig:
        assert (await ask(rig.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 502 ")
        assert (await rig.ended())[0].end is End.DOWN


async def test_an_absent_backend_of_another_protocol_is_a_close(tmp_path: Path) -> None:
    async with running(ALL, {"b": Relay(path=str(tmp_path / "nobody"))}) as rig:
        assert await ask(rig.port, b"\0\1\2") == b""
        assert (await rig.ended())[0].end is End.DOWN


async def test_a_backend_that_takes_no_connection_is_given_up_in_time() -> None:
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    stuffing = [socket.socket() for _ in range(4)]
    for sock in stuffing:
        sock.setblocking(False)
        sock.connect_ex(full.getsockname())
    relay = Relay("127.0.0.1", full.getsockname()[1], connect_timeout_s=0.3)
    async with running(WEB, {"b": relay}) as rig:
        said = await ask(rig.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 502 ")
    for sock in (*stuffing, full):
        sock.close()


@pytest.mark.parametrize("mode", ["framed", "close", "tunnel", "auto"])
async def test_what_we_answer_a_head_has_no_body(mode: str) -> None:
    nowhere = Relay("127.0.0.1", free_port(), http=mode)
    async with running([Route("r", "nowhere", (Http(paths=("/a",)),))], {"nowhere": nowhere}) as rig:
        for path, status in ((b"/a", b"502"), (b"/b", b"404"), (b"/%00", b"400")):
            said = await ask(rig.port, b"HEAD %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            assert said.startswith(b"HTTP/1.1 " + status) and said.endswith(b"\r\n\r\n"), said
            assert b"Content-Length: 0" not in said


async def test_a_backend_that_dies_before_it_answers_is_a_502() -> None:
    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with backend(dies) as b, running(WEB, {"b": Relay("127.0.0.1", b)}) as rig:
        assert (await ask(rig.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 502 ")


async def test_a_name_is_looked_up() -> None:
    async with backend(echo) as b, running(ALL, {"b": Relay("localhost", b)}) as rig:
        assert await ask(rig.port, b"abc", end=True) == b"abc"
    async with running(ALL, {"b": Relay("nobody.invalid", 1)}) as rig:
        assert await ask(rig.port, b"abc") == b""


@pytest.mark.parametrize("request_", [b"abc", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_the_next_address_of_a_name_is_tried(request_: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = free_port()
    async with backend(echo) as b, running(ALL, {"b": Relay("two.invalid", 1, http="tunnel")}) as rig:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in (closed, b)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: found)
        assert await ask(rig.port, request_, end=True) == request_


async def test_idle_tunnels_end() -> None:
    async with backend(echo) as b, running(ALL, {"b": Relay("127.0.0.1", b, idle_timeout_s=0.3)}) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        for _ in range(4):
            writer.write(b"x")
            assert await reader.read(1) == b"x"
            await asyncio.sleep(0.15)
        assert await reader.read() == b""
        writer.close()
        assert (await rig.ended())[0].end is End.IDLE


async def test_an_answer_that_never_comes_ends_too() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with backend(mute) as b, running(WEB, {"b": Relay("127.0.0.1", b, answer_timeout_s=0.2)}) as rig:
        assert await ask(rig.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        assert (await rig.ended())[0].end is End.IDLE


async def test_a_server_that_speaks_first_is_not_kept_waiting() -> None:
    async def greets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        await reader.read()

    async with backend(greets) as b, running(ALL, {"b": Relay("127.0.0.1", b)}) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        assert await reader.readline() == b"220 hello\r\n"
        writer.close()
        assert (await rig.ended())[0].decide_ms < 100


@pytest.mark.parametrize("version", [1, 2])
async def test_the_proxy_header_goes_first(version: int) -> None:
    async with backend(echo) as b, running(ALL, {"b": Relay("127.0.0.1", b, proxy_out=version)}) as rig:
        said = await ask(rig.port, b"abc", end=True)
    start = b"PROXY TCP4 127.0.0.1 127.0.0.1 " if version == 1 else b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
    assert said.startswith(start) and said.endswith(b"abc")


async def test_to_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "b")
    async with backend(http_backend("U"), path), running(WEB, {"b": Relay(path=path)}) as rig:
        assert b"U / 0" in await ask(rig.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_a_descriptor_is_passed_with_its_bytes_unread(tmp_path: Path) -> None:
    path = str(tmp_path / "taker")
    taker = socket.socket(socket.AF_UNIX)
    taker.bind(path)
    taker.listen()

    def serve() -> tuple[bytes, tuple[str, int]]:
        way, _ = taker.accept()
        message, fds, _, _ = socket.recv_fds(way, 1024, 1)
        with socket.socket(fileno=fds[0]) as sock:
            sock.setblocking(True)
            got = sock.recv(100)
            sock.sendall(b"got " + got)
            peer = sock.getpeername()
        way.close()
        assert message.startswith(b"\r\n\r\n\0\r\nQUIT\n")
        return got, peer

    async with running([Route("p", "b", (Http(),))], {"b": Pass(path)}) as rig:
        request = b"GET /p HTTP/1.1\r\nHost: x\r\n\r\n"
        job = asyncio.get_running_loop().run_in_executor(None, serve)
        assert await ask(rig.port, request) == b"got " + request
        assert (await job)[0] == request
        assert (await rig.ended())[0].end is End.PASSED
        taker.close()
        os.unlink(path)
        assert (await ask(rig.port, request)).startswith(b"HTTP/1.1 502 ")


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("when", ["sniffing", "hand-over", "relay", "backend", "bulk"])
async def test_resets_end_their_own_connection_only(when: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read(10)
        if data == b"die":
            writer.transport.abort()
        elif data == b"bulk":
            writer.write(bytes(8 << 20))
            await writer.drain()
        await echo(reader, writer)

    rules = [Route("half", "b", (Http(paths=("/never",)),)), Route("all", "b", (Any(),))]
    async with backend(talk) as b, running(rules, {"b": Relay("127.0.0.1", b)}) as rig:
        before = descriptors()
        for _ in range(10):
            sock = socket.create_connection(("127.0.0.1", rig.port))
            await asyncio.sleep(0)
            sock.send({"sniffing": b"GE", "hand-over": b"\0x", "backend": b"die", "bulk": b"bulk"}.get(when, b"\0y"))
            if when != "hand-over":
                await asyncio.sleep(0.05)
            reset(sock)
        ends = {r.end for r in await rig.ended(10)}
        assert ends <= {End.RESET, End.BACKEND, End.CLIENT}, ends
        assert await ask(rig.port, b"\0ok", b"ay", end=True, pause_s=0.01) == b"ay"
        await rig.ended(11)
        assert rig.dispatcher.connections == 0
        for _ in range(100):
            if descriptors() <= before:
                break
            await asyncio.sleep(0.02)
        assert descriptors() <= before


async def test_pipes_come_back() -> None:
    async def download(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(bytes(flow.SPLICE_AFTER_BYTES * 4))
        await writer.drain()

    async with backend(download) as b, running(ALL, {"b": Relay("127.0.0.1", b)}) as rig:
        for _ in range(3):
            assert len(await ask(rig.port, b"x")) == flow.SPLICE_AFTER_BYTES * 4
        await rig.ended(3)
        assert rig.dispatcher.pipes.out == 0
