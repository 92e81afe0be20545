"""Services inside this process: hand-over without a byte lost or added, TLS, half-close, uploads as they arrive."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any as Anything

import pytest
from aiohttp import ClientSession, WSMsgType, web

from agent.dispatch.http import client_address, http_service, own_paths
from agent.dispatch.matchers import Any, Http, Silence, Tls
from agent.dispatch.peek import Route
from agent.dispatch.records import End
from agent.dispatch.relay import Relay
from agent.dispatch.services import InProcess, Refuse, Terminate, talk_service
from tests.dispatch.rig import ask, backend, descriptors, echo, http_backend, running
from tests.dispatch.samples import V1, V2, client_hello
from tests.dispatch.test_relay import reset
from tests.ports import free_port

NULS = b"\0\0a\0b\xff" + bytes(10)
LOCAL = ipaddress.ip_network("127.0.0.0/8")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate for localhost and cam.example.org in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    names = "subjectAltName=DNS:localhost,DNS:cam.example.org,IP:127.0.0.1"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", names, "-keyout", str(path), "-out", str(path) + ".crt"],
        capture_output=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def client_tls(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


class Collect(asyncio.BufferedProtocol):
    """Takes few bytes at a time, and says at the end what it got."""

    def __init__(self) -> None:
        self.room = bytearray(7)
        self.got = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        self.got += self.room[:nbytes]

    def eof_received(self) -> bool:
        self.transport.write(self.got)
        return False


@pytest.mark.parametrize("pieces", [[NULS], [bytes((b,)) for b in NULS], [NULS[:1], NULS[1:]]])
async def test_every_byte_reaches_a_protocol_once(pieces: list[bytes]) -> None:
    for service in (InProcess(Collect), talk_service(echo)):
        async with running([Route("half", "p", (Http(),)), Route("all", "p", (Any(),))], {"p": service}) as rig:
            assert await ask(rig.port, *pieces, end=True, pause_s=0.002) == NULS
            record = (await rig.ended())[0]
            assert (record.in_bytes, record.out_bytes, record.end) == (len(NULS), len(NULS), End.DONE)


async def app(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Upgrade"):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            if message.type is WSMsgType.BINARY:
                await ws.send_bytes(message.data)
            else:
                await ws.send_str(message.data)
        return ws
    digest, size = hashlib.sha256(), 0
    async for piece in request.content.iter_any():
        digest.update(piece)
        size += len(piece)
    return web.json_response({"path": request.path, "size": size, "sha": digest.hexdigest(), "from": request.remote})


class Site:
    """An application behind a runner, for `http_service`."""

    def __init__(self, *middlewares: Anything) -> None:
        self.app = web.Application(middlewares=middlewares)
        self.app.router.add_route("*", "/{tail:.*}", app)
        self.runner = web.AppRunner(self.app, shutdown_timeout=0.5)

    async def __aenter__(self) -> Site:
        await self.runner.setup()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()


WEB = [Route("web", "web", (Http(),))]
GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_requests_in_any_pieces() -> None:
    async with Site() as site, running(WEB, {"web": http_service(site.runner)}) as rig:
        for pieces in ([GET], [GET[i : i + 1] for i in range(len(GET))], [GET * 3]):
            said = await ask(rig.port, *pieces, end=True, pause_s=0.001)
            assert said.count(b'"path": "/x"') == len(b"".join(pieces)) // len(GET)


async def test_websocket_with_nuls_text_and_binary() -> None:
    async with Site() as site, running(WEB, {"web": http_service(site.runner)}) as rig:
        async with ClientSession() as client, client.ws_connect(f"http://127.0.0.1:{rig.port}/ws") as ws:
            for data in (NULS, bytes(1), bytes(300_000)):
                await ws.send_bytes(data)
                assert (await ws.receive()).data == data
            await ws.send_str("a\0b")
            assert (await ws.receive()).data == "a\0b"
        record = (await rig.ended())[0]
        assert "WebSocket GET" in record.why


async def test_frames_glued_to_the_handshake() -> None:
    upgrade = b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    head = b"GET /ws HTTP/1.1\r\nHost: x\r\n" + upgrade + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    frames = b"\x82\x84\0\0\0\0\0a\0b" + b"\x88\x82\0\0\0\0\x03\xe8"
    async with Site() as site, running(WEB, {"web": http_service(site.runner)}) as rig:
        for first in (b"", GET):
            said = await ask(rig.port, first + head + frames)
            assert said.count(b" 101 ") == 1 and b"\x82\x04\0a\0b\x88\x02\x03\xe8" in said


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_upload_is_seen_as_it_arrives(chunked: bool) -> None:
    """A low-level handler gets the first bytes while the last are not sent yet; its answer is the digest."""
    arrived = asyncio.Event()

    async def take(request: web.BaseRequest) -> web.StreamResponse:
        digest = hashlib.sha256()
        async for piece in request.content.iter_any():
            arrived.set()
            digest.update(piece)
        return web.Response(text=digest.hexdigest())

    async def body() -> Anything:
        yield NULS
        await asyncio.wait_for(arrived.wait(), 60)
        for _ in range(64):
            yield bytes(1 << 16)

    runner = web.ServerRunner(web.Server(take))
    await runner.setup()
    whole = NULS + bytes(64 << 16)
    headers = {} if chunked else {"Content-Length": str(len(whole))}
    async with (
        running(WEB, {"web": http_service(runner)}) as rig,
        ClientSession() as client,
        client.put(f"http://127.0.0.1:{rig.port}/u", data=body(), headers=headers) as answer,
    ):
        assert await answer.text() == hashlib.sha256(whole).hexdigest()
    await runner.cleanup()


async def test_foreign_paths_get_421_and_a_close() -> None:
    routes = [Route("mine", "web", (Http(paths=("/mine",)),))]
    async with Site(own_paths("/mine")) as site, running(routes, {"web": http_service(site.runner)}) as rig:
        mine, other = b"GET /mine HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n"
        said = await ask(rig.port, mine + other + mine)
        assert said.count(b"HTTP/1.1 200") == 1 and said.count(b"HTTP/1.1 421") == 1
        assert said.index(b" 200 ") < said.index(b" 421 ")


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
async def test_the_application_sees_the_client_that_a_proxy_speaks_for(header: bytes) -> None:
    holder: list[Anything] = []
    site = Site(client_address(lambda: holder[0]))
    async with site, running(WEB, {"web": http_service(site.runner)}, proxy_from=(LOCAL,)) as rig:
        holder.append(rig.dispatcher)
        assert b'"from": "203.0.113.7"' in await ask(rig.port, header, GET, end=True, pause_s=0.02)
        assert b'"from": "127.0.0.1"' in await ask(rig.port, GET, end=True)
        records = await rig.ended(2)
        assert records[0].client == "203.0.113.7:4711" and records[0].peer.startswith("127.0.0.1:")


async def test_a_proxy_header_from_a_stranger_is_refused() -> None:
    async with running([Route("all", "web", (Http(),))], {"web": Refuse()}) as rig:
        assert await ask(rig.port, V1 + GET) == b""
        record = (await rig.ended())[0]
        assert (record.end, record.client) == (End.REFUSED, record.peer) and "may not send one" in record.why


async def test_a_refusal_survives_unread_bytes() -> None:
    async with running(WEB, {"web": Refuse(403)}) as rig:
        said = await ask(rig.port, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + bytes(40_000))
        assert said.startswith(b"HTTP/1.1 403 ")


async def test_a_refused_client_that_goes_on_sending_sees_an_end_and_no_reset() -> None:
    async with running(WEB, {"web": Refuse(403)}) as rig:

        def work() -> tuple[bytes, bytes]:
            with socket.create_connection(("127.0.0.1", rig.port), timeout=5) as sock:
                sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + bytes(20_000))
                said = sock.recv(1000)
                for _ in range(2):
                    sock.sendall(bytes(15_000))
                    time.sleep(0.05)
                return said, sock.recv(1000)

        said, end = await asyncio.to_thread(work)
        assert said.startswith(b"HTTP/1.1 403 ") and end == b""


INSIDE = [
    Route("tls", "tls", (Tls(sni=("cam.example.org", "localhost")),)),
    Route("near", "a", (Http(paths=("/a",)),)),
    Route("far", "b", (Http(paths=("/b",)),)),
    Route("quiet", "ftp", (Silence(),)),
    Route("rest", "raw", (Any(),)),
]


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 hello\r\n")
    await echo(reader, writer)


@pytest.mark.parametrize("proxied", [b"", V1, V2], ids=["", "v1", "v2"])
async def test_inside_tls_the_same_rules_apply(certificate: Path, proxied: bytes) -> None:
    async with (
        Site() as site,
        backend(http_backend("B")) as b,
        backend(greet) as ftp,
        running(
            INSIDE,
            {
                "tls": Terminate(server_tls(certificate)),
                "a": http_service(site.runner),
                "b": Relay("127.0.0.1", b),
                "ftp": Relay("127.0.0.1", ftp),
                "raw": talk_service(echo),
            },
            proxy_from=(LOCAL,),
        ) as rig,
    ):

        async def say(*pieces: bytes) -> bytes:
            return await ask_tls(rig.port, client_tls(certificate), proxied, *pieces)

        a, b_ = GET.replace(b"/x", b"/a"), GET.replace(b"/x", b"/b")
        assert b'"path": "/a"' in await say(a.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert (await say(b_[:9], b_[9:])).endswith(b"B /b 0\n")
        assert (await say(b_ + a)).count(b"HTTP/1.1") == 1
        assert await say(GET + GET) == GET + GET
        assert await say() == b"220 hello\r\n"
        twice = b"GET /b HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"
        assert (await say(twice)).startswith(b"HTTP/1.1 400 ")
        assert (await say(twice.replace(b"GET", b"HEAD"))).endswith(b"\r\nConnection: close\r\n\r\n")
        records = await rig.ended(7)
        assert {r.rule for r in records} == {"near", "far", "rest", "quiet"} and records[1].service == "b"
        if proxied:
            assert {r.client for r in records} == {"203.0.113.7:4711"}


async def ask_tls(port: int, context: ssl.SSLContext, first: bytes, *pieces: bytes) -> bytes:
    """What comes until half a second of silence or the end, asked over TLS after plain bytes."""
    loop = asyncio.get_running_loop()
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setblocking(False)
    await loop.sock_sendall(sock, first)
    reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname="localhost")
    said = b""
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.01)
    try:
        while data := await asyncio.wait_for(reader.read(65536), 0.5):
            said += data
    except TimeoutError:
        pass
    writer.close()
    await asyncio.wait({asyncio.ensure_future(writer.wait_closed())})
    return said


async def test_relayed_from_tls_in_bulk_and_to_nowhere(certificate: Path) -> None:
    data = NULS + bytes(range(256)) * 20_000

    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = await reader.readexactly(len(data))
        writer.write(got)
        await writer.drain()

    rules = [Route("tls", "tls", (Tls(),)), Route("web", "gone", (Http(),)), Route("rest", "raw", (Any(),))]
    gone = free_port()
    services = {"tls": Terminate(server_tls(certificate)), "gone": Relay("127.0.0.1", gone)}
    async with backend(whole) as b, running(rules, services | {"raw": Relay("127.0.0.1", b)}) as rig:
        assert await ask_tls(rig.port, client_tls(certificate), b"", data) == data
        assert (await ask_tls(rig.port, client_tls(certificate), b"", GET)).startswith(b"HTTP/1.1 502 ")
        said = await ask_tls(rig.port, client_tls(certificate), b"", GET.replace(b"GET", b"HEAD"))
        assert said.startswith(b"HTTP/1.1 502 ") and said.endswith(b"\r\n\r\n")
        ends = [r.end for r in await rig.ended(3)]
        assert ends == [End.BACKEND, End.DOWN, End.DOWN]


@pytest.mark.parametrize("version", [1, 2])
async def test_from_tls_the_proxy_header_goes_first(certificate: Path, version: int) -> None:
    rules = [Route("tls", "tls", (Tls(),)), Route("web", "b", (Http(),)), Route("rest", "b", (Any(),))]
    tls = Terminate(server_tls(certificate))
    async with backend(echo) as b:
        services = {"tls": tls, "b": Relay("127.0.0.1", b, proxy_out=version, http="tunnel")}
        async with running(rules, services, proxy_from=(LOCAL,)) as rig:
            said = await ask_tls(rig.port, client_tls(certificate), V1, b"\0abc")
    v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07"
    start = b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 " if version == 1 else v2
    assert said.startswith(start) and said.endswith(b"\0abc")


@pytest.mark.parametrize("when", ["hand-over", "handshake", "request", "answer"])
async def test_resets_leave_nothing_behind(certificate: Path, when: str) -> None:
    rules = [Route("tls", "tls", (Tls(),)), *WEB, Route("rest", "raw", (Any(),))]
    first = {"hand-over": NULS, "handshake": client_hello("localhost")[:100], "request": GET[:10], "answer": GET * 50}
    async with Site() as site:
        services = {
            "tls": Terminate(server_tls(certificate)),
            "web": http_service(site.runner),
            "raw": talk_service(echo),
        }
        async with running(rules, services) as rig:
            for pause_s in (0.0, 0.05) * 5:
                sock = socket.create_connection(("127.0.0.1", rig.port))
                sock.send(first[when])
                await asyncio.sleep(pause_s)
                reset(sock)
            await rig.ended(10)
            assert rig.dispatcher.connections == 0
            assert b"200 OK" in await ask(rig.port, GET, end=True)


async def test_a_factory_that_fails_fails_its_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> asyncio.Protocol:
        raise RuntimeError("no protocol today")

    rules = [Route("web", "web", (Http(),)), Route("rest", "raw", (Any(),))]
    async with running(rules, {"web": InProcess(broken), "raw": talk_service(echo)}) as rig:
        assert await ask(rig.port, GET) == b""
        assert (await rig.ended())[0].end is End.ERROR and "no protocol today" in caplog.text
        assert await ask(rig.port, NULS, end=True) == NULS


async def test_a_full_service_inside_tls_is_a_503(certificate: Path) -> None:
    rules = [Route("tls", "tls", (Tls(),)), Route("web", "web", (Http(),))]
    services = {"tls": Terminate(server_tls(certificate)), "web": talk_service(echo, max_connections=1)}
    async with running(rules, services) as rig:
        context = client_tls(certificate)
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port, ssl=context, server_hostname="localhost")
        writer.write(GET)
        await asyncio.sleep(0.1)
        assert (await ask_tls(rig.port, context, b"", GET)).startswith(b"HTTP/1.1 503 ")
        writer.close()
        await asyncio.wait({asyncio.ensure_future(writer.wait_closed())})


async def test_nobody_for_that_name_is_a_tls_alert(certificate: Path) -> None:
    rules = [Route("tls", "tls", (Tls(sni=("cam.example.org",)),))]
    async with running(rules, {"tls": Terminate(server_tls(certificate))}) as rig:
        with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
            await asyncio.open_connection(
                "127.0.0.1", rig.port, ssl=client_tls(certificate), server_hostname="localhost"
            )


async def test_a_half_hello_for_ever_ends_at_the_deadline(certificate: Path) -> None:
    async with running([Route("tls", "tls", (Tls(),))], {"tls": Terminate(server_tls(certificate))}) as rig:
        assert await ask(rig.port, b"\x16\x03\x01\x02\0\x01\0\x01") == b""
        assert (await rig.ended())[0].end is End.LATE


async def test_descriptors_are_back_at_the_start(certificate: Path) -> None:
    rules = [Route("tls", "tls", (Tls(),)), *WEB, Route("rest", "raw", (Any(),))]
    async with Site() as site:
        services = {
            "tls": Terminate(server_tls(certificate)),
            "web": http_service(site.runner),
            "raw": InProcess(Collect),
        }
        async with running(rules, services) as rig:
            before = descriptors()
            for _ in range(20):
                await ask(rig.port, GET, end=True)
                await ask(rig.port, NULS, end=True)
                await ask(rig.port, b"\x16\x03\x01\0\x05hello", end=True)
            await ask_tls(rig.port, client_tls(certificate), b"", b"bye")
            await rig.ended(61)
            await asyncio.sleep(0.05)
            assert descriptors() == before and rig.dispatcher.connections == 0
