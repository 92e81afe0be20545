"""Bodies that trickle in are answered 408, those that are cut off by nothing: no connection is held for ever."""

from __future__ import annotations

import asyncio
import logging

import pytest

from agent.server.app import CameraServer
from agent.server.ingest import upload
from agent.server.web import access
from tests.server.conftest import Start
from tests.server.people import owner
from tests.server.pictures import jpeg

FORM = "Content-Type: application/x-www-form-urlencoded"


async def trickle(port: int, what: str, header: str, piece: bytes, for_s: float = 60.0) -> str:
    """The status of the answer to a body that comes in pieces for ever; "" when there is none in this time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{what} HTTP/1.1\r\nHost: localhost\r\n{header}\r\nContent-Length: 6000000\r\n\r\n".encode())

    async def write() -> None:
        while True:
            writer.write(piece)
            await asyncio.sleep(0.02)

    writing = asyncio.create_task(write())
    try:
        async with asyncio.timeout(for_s):
            return (await reader.readline()).split(b" ")[1].decode()
    except TimeoutError:
        return ""
    finally:
        writing.cancel()
        writer.transport.abort()


async def test_forms_and_json_come_in_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "BODY_S", 0.3)
    server = await start()
    async with owner(server) as who:
        token = (await who.ask("POST", "/api/v1/tokens", 201, json={"name": "t", "scope": "manage"}))["token"]
    assert await trickle(server.port, "POST /login", FORM, b"x") == "408"
    assert await trickle(server.port, "POST /api/v1/cameras", f"Authorization: Bearer {token}", b" ") == "408"


async def test_a_form_of_another_kind_is_refused(start: Start) -> None:
    server = await start()
    async with owner(server) as who:
        for name in (b"user", b"a" * 20_000):
            body = b'--B\r\nContent-Disposition: form-data; name="%b"\r\n\r\nx\r\n--B--\r\n' % name
            await who.ask("POST", "/login", 400, data=body, headers={"Content-Type": "multipart/form-data; boundary=B"})


@pytest.mark.parametrize(("piece", "status"), [(b"\r\n", "408"), (b"\r\n" * 100, ""), (jpeg(1), "")])
async def test_a_stream_goes_on_while_it_brings_something(
    server: CameraServer, monkeypatch: pytest.MonkeyPatch, piece: bytes, status: str
) -> None:
    monkeypatch.setattr(upload, "STALL_S", 0.5)
    monkeypatch.setattr(upload, "LEAST_BYTES", 1000)
    key = f"Authorization: Bearer {await server.issue_token('porch')}"
    assert await trickle(server.port, "POST /v1/cam/porch/mjpeg", key, piece, 60 if status else 2) == status


async def test_what_is_cut_off_or_no_http_is_not_told_as_our_fault(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start()
    async with owner(server) as who:
        token = (await who.ask("POST", "/api/v1/tokens", 201, json={"name": "t", "scope": "manage"}))["token"]
        made = await who.add("porch")
    device, person = f"Authorization: Bearer {made['token']}", f"Authorization: Bearer {token}"
    for what, header in (
        ("POST /v1/cam/porch/mjpeg", device),
        ("PUT /v1/cam/porch/picture/a.jpg", device),
        ("POST /api/v1/cameras", person),
        ("POST /login", FORM),
    ):
        assert await trickle(server.port, what, header, b"\r\n", 0.3) == ""
    assert await trickle(server.port, "BREW /", "X: y", b"") == "400"
    assert await trickle(server.port, "GET /", f"X: {9000 * 'y'}", b"") == "400"
    await asyncio.sleep(0.2)
    assert [r.getMessage() for r in caplog.records if r.levelno > logging.WARNING] == []
