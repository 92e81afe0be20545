"""Somebody is told when something moves: by real HTTP and SMTP, signed, again after failures and after a restart."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import hashlib
import hmac
import importlib.util
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agent.server.app import CameraServer
from agent.server.notify import AppriseSettings, MailSettings, Note, WebhookSettings, create
from tests.server.conftest import Start
from tests.server.people import basic, person
from tests.server.pictures import jpeg

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def receiver(handler: Handler) -> AsyncIterator[str]:
    """An HTTP server of somebody else's; its address."""
    app = web.Application()
    app.router.add_post("/hook", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    await runner.cleanup()


async def moves(server: CameraServer) -> None:
    keys = await server.issue_keys("porch")
    async with person(server) as camera:
        headers = basic(keys.login, keys.password)
        await camera.ask("PUT", "/v1/cam/porch/picture", 201, data=jpeg(5), headers=headers)


async def test_a_webhook_is_signed_and_tried_again_with_the_same_id(start: Start, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    got: list[tuple[str, dict[str, Any]]] = []
    told = asyncio.Event()

    async def hook(request: web.Request) -> web.Response:
        body, h = await request.text(), request.headers
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        signed = f"{h['webhook-id']}.{h['webhook-timestamp']}.{body}".encode()
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert h["webhook-signature"] == f"v1,{expected}" and abs(int(h["webhook-timestamp"]) - time.time()) < 60
        got.append((h["webhook-id"], json.loads(body)))
        if len(got) == 1:
            return web.Response(status=503)
        told.set()
        return web.Response(status=204)

    async with receiver(hook) as url:
        settings = WebhookSettings(type="webhook", url=url, secret_file=str(tmp_path / "secret"))
        server = await start(notes={}, notify=(settings,))
        await moves(server)
        async with asyncio.timeout(60):
            await told.wait()
    assert len({id_ for id_, _ in got}) == 1
    body = got[-1][1]
    assert (body["type"], body["source"]) == ("camera-agent.motion.started.v1", "/cameras/porch")
    assert body["id"] == got[-1][0] and body["specversion"] == "1.0"


async def test_what_was_not_told_is_told_after_a_restart_and_deletion_forgets_it(start: Start) -> None:
    told = asyncio.Event()

    async def hook(request: web.Request) -> web.Response:
        told.set()
        return web.Response()

    nowhere = WebhookSettings(type="webhook", url="http://127.0.0.1:9/hook")
    server = await start(notes={}, notify=(nowhere,))
    await moves(server)
    await server.close()
    async with receiver(hook) as url:
        again = await start(notes={}, notify=(WebhookSettings(type="webhook", url=url),))
        index = again._archive.index  # type: ignore[union-attr]
        await index.write(lambda rows: [rows.notes.put(replace(note, due_ns=0)) for note in rows.notes.find()])
        async with asyncio.timeout(60):
            await told.wait()
        await moves(again)
        await again.delete_camera("porch")
        assert await index.read(lambda rows: rows.notes.count()) == 0


async def test_mail_brings_the_picture(start: Start) -> None:
    mails: list[bytes] = []

    async def smtp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As much of RFC 5321 as a sender needs."""
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                writer.write(b"354 go\r\n")
                mails.append(await reader.readuntil(b"\r\n.\r\n"))
            writer.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
        writer.close()

    listener = await asyncio.start_server(smtp, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    settings = MailSettings(
        type="mail", host="127.0.0.1", port=port, security="none", sender="cameras@example.org", to="me@example.org"
    )
    server = await start(notes={}, notify=(settings,), public_url="https://cameras.example.org/")
    await moves(server)
    async with asyncio.timeout(60):
        while not mails:
            await asyncio.sleep(0.05)
    listener.close()
    message = email.message_from_bytes(mails[0].replace(b"\r\n..", b"\r\n."), policy=email.policy.default)
    assert message["Subject"] == "porch: motion" and message["To"] == "me@example.org"
    [picture] = list(message.iter_attachments())
    assert picture.get_payload(decode=True) == jpeg(5)
    text = message.get_body()
    assert text is not None and text.get_content().splitlines()[-1] == "https://cameras.example.org/#event=1"


@pytest.mark.skipif(
    importlib.util.find_spec("apprise") is None, reason="NO apprise (extra notify): it is NOT tested against one"
)
async def test_apprise_is_given_its_addresses_by_stdin(tmp_path: Path) -> None:
    got: list[str] = []

    async def hook(request: web.Request) -> web.Response:
        got.append(await request.text())
        return web.Response()

    async with receiver(hook) as url:
        (tmp_path / "urls").write_text(url.replace("http://", "json://") + "\n")
        notifier = create(AppriseSettings(type="apprise", urls_file=str(tmp_path / "urls")))
        await notifier.send(Note("1", "porch: motion", "Something moves.", "{}"))
    assert json.loads(got[0])["title"] == "porch: motion"
