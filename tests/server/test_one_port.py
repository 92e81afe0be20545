"""Everything at one port: pages, uploads and FTP with its data connections, from one address at the same time."""

from __future__ import annotations

import asyncio
import ftplib
import io
import shutil
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from agent.dispatch.limits import Limits
from agent.errors import ConfigError
from agent.server.app import ServerSettings
from tests.pictures import jpeg
from tests.server.conftest import Start
from tests.server.test_ftp import Ftp, Raw, files, matrix, upload_by

__all__ = ["files"]

IMPLICIT = (
    ("curl", "-sS", "-m", "20", "-k", "-u", "@U:@W", "-T", "@F", "ftps://@H:@P/x.jpg"),
    ("lftp", "-u", "@U,@W", "-e", "set ssl:verify-certificate no; set net:timeout 15; put @F; bye", "ftps://@H:@P"),
)


@pytest.fixture
async def ftp(start: Start, files: tuple[str, str], tmp_path: Path) -> AsyncIterator[Ftp]:
    """A server with the silence timer shortened."""
    server = await start(
        notes={}, ftp=True, single_port_ftp=True, tls_cert=files[0], tls_key=files[1], limits=Limits(silence_s=0.2)
    )
    server.ftp_port = server.port
    (tmp_path / "sent").mkdir()
    picture = tmp_path / "sent" / "picture.jpg"
    picture.write_bytes(jpeg(5, 640, 480))
    ftp = Ftp(server, await server.issue_keys("porch"), picture)
    yield ftp
    for sock in ftp.sockets:
        sock.close()


@pytest.mark.parametrize("run", [*matrix(), *IMPLICIT], ids=lambda run: " ".join(run)[:70])
async def test_clients_of_the_field(ftp: Ftp, run: tuple[str, ...]) -> None:
    if not shutil.which(run[0]):
        pytest.skip(f"NO {run[0]}: it is NOT tested")
    await upload_by(ftp, run)


async def test_who_does_not_wait_for_the_greeting(ftp: Ftp) -> None:
    """Scripts in firmware make their folder by `nc`, which says everything and closes."""

    def work() -> bytes:
        with socket.create_connection(("127.0.0.1", ftp.port), timeout=5) as nc:
            nc.sendall(f"user {ftp.keys.login}\nPASS {ftp.keys.password}\nMKD /x\n".encode())
            nc.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: nc.recv(1000), b""))

    assert [line[:3] for line in (await asyncio.to_thread(work)).splitlines()] == [b"220", b"331", b"230", b"257"]


async def test_uploads_and_pages_from_one_address_do_not_mix(ftp: Ftp) -> None:
    pictures = [jpeg(i, 320, 240) for i in range(15)]

    def upload(data: bytes) -> str:
        with ftplib.FTP() as client:
            client.connect("127.0.0.1", ftp.port, timeout=20)
            client.login(ftp.keys.login, ftp.keys.password)
            return client.storbinary("STOR video.jpg", io.BytesIO(data))

    async def look() -> int:
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{ftp.port}/login") as answer:
            return answer.status

    jobs = [asyncio.to_thread(upload, p) for p in pictures]
    answers = await asyncio.gather(*jobs, *(look() for _ in range(20)))
    assert [a[:3] if isinstance(a, str) else a for a in answers] == ["226"] * 15 + [200] * 20
    assert sorted(d for d, _ in await ftp.stored()) == sorted(pictures)


@pytest.mark.parametrize("tls", [False, True])
async def test_what_a_browser_connects_ahead_is_not_greeted(ftp: Ftp, tls: bool) -> None:
    """It would take the greeting for the answer to its next request."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def connect(own: str) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", ftp.port), timeout=5, source_address=(own, 0))
        return context.wrap_socket(sock) if tls else sock

    def work() -> tuple[bytes, bytes]:
        with connect("127.0.0.1") as ahead, connect("127.0.0.2") as camera:
            asked = f"GET /login HTTP/1.1\r\nHost: 127.0.0.1:{ftp.port}\r\nUser-Agent: Mozilla/5.0\r\n"
            asked += "Accept: text/html,*/*\r\n"
            with socket.create_connection(("127.0.0.1", ftp.port), timeout=5) as browser:
                browser.sendall(asked.encode() + b"\r\n")
                assert browser.recv(1000).startswith(b"HTTP/1.1 200")
            greeting = camera.recv(1000)
            time.sleep(0.1)
            ahead.sendall(asked.encode() + b"Connection: close\r\n\r\n")
            return greeting, ahead.recv(1000)

    greeting, answer = await asyncio.to_thread(work)
    assert greeting[:4] == b"220 " and answer.startswith(b"HTTP/1.1 200")


async def test_a_camera_is_greeted_where_somebody_looks_at_an_open_page(ftp: Ftp) -> None:
    def work() -> bytes:
        asked = (
            f"GET /api/v1/about HTTP/1.1\r\nHost: 127.0.0.1:{ftp.port}\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n"
        )
        with socket.create_connection(("127.0.0.1", ftp.port), timeout=5) as browser:
            browser.sendall(asked.encode() + b"\r\n")
            assert browser.recv(1000).startswith(b"HTTP/1.1 ")
            with socket.create_connection(("127.0.0.1", ftp.port), timeout=15) as camera:
                return camera.recv(1000)

    assert (await asyncio.to_thread(work))[:4] == b"220 "


async def test_a_page_asked_for_while_data_is_expected_is_a_page(ftp: Ftp) -> None:
    def work() -> tuple[bytes, str]:
        raw = Raw(ftp).login()
        raw.ask("EPSV")
        with socket.create_connection(("127.0.0.1", ftp.port), timeout=5) as page:
            page.sendall(b"GET /login HTTP/1.0\r\n\r\n")
            said = page.recv(100)
        return said, raw.stor("x.jpg", ftp.picture.read_bytes())

    said, stored = await asyncio.to_thread(work)
    assert said.startswith(b"HTTP/1.") and b" 200 " in said
    assert stored.startswith("226")


async def test_data_that_never_comes_is_not_waited_for_by_others(ftp: Ftp) -> None:
    """A claim that is given up takes no later connection away."""

    def work() -> str:
        raw = Raw(ftp).login()
        raw.ask("EPSV")
        raw.ask("QUIT")
        raw.sock.close()
        return Raw(ftp).line().decode()

    assert (await asyncio.to_thread(work)).startswith("220")


async def test_implicit_tls(ftp: Ftp) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", ftp.port, ssl=context)
    assert (await reader.readline()).startswith(b"220")
    writer.write(b"PBSZ 0\r\n")
    assert (await reader.readline()).startswith(b"200")
    writer.close()
    await asyncio.wait({asyncio.ensure_future(writer.wait_closed())})


async def test_who_hangs_up_inside_tls_leaves_no_line_in_the_log(ftp: Ftp, caplog: pytest.LogCaptureFixture) -> None:
    """As scanners do, and those who look whether a port answers."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for said in (b"", b"USER x\r\n", b"GET /login HT"):
        _, writer = await asyncio.open_connection("127.0.0.1", ftp.port, ssl=context)
        writer.write(said)
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    await asyncio.sleep(0.1)
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")], caplog.text


async def test_the_claim_is_recorded(ftp: Ftp) -> None:
    await asyncio.to_thread(lambda: Raw(ftp).login().stor("x.jpg", ftp.picture.read_bytes()))
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{ftp.port}/metrics") as answer:
        assert 'dispatch_connections_total{rule="claim",service="claim",end="done"} 1' in await answer.text()


def test_single_port_needs_ftp() -> None:
    with pytest.raises(ConfigError, match="single_port_ftp needs ftp"):
        ServerSettings(single_port_ftp=True)
    assert ServerSettings(ftp=True).ftp_at == 8088 and ServerSettings(ftp=True, ftp_port=21).ftp_at == 21
    assert ServerSettings().ftp_at is None
