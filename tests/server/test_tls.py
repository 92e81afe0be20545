"""The page over TLS: a certificate of one's own, files that change, files that cannot be used."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import shlex
import shutil
import ssl
import subprocess
from pathlib import Path

import aiohttp
import pytest
import yaml
from playwright.async_api import async_playwright

from agent.errors import ConfigError
from agent.exits import UNREACHABLE
from agent.frame import ItemType
from agent.server.app import CameraServer
from agent.server.handover import Pairing
from agent.server.tls import Tls
from agent.sinks.http import HttpSink
from agent.sinks.websocket import WebSocketSink
from tests.e2e.product import COMMAND, Process, command
from tests.server.conftest import Start
from tests.server.pictures import frame, settled
from tests.server.test_ftp import certificate, files
from tests.server.test_page import CHROMIUM, until

__all__ = ["files"]


async def secure(start: Start, cert: Path, key: Path) -> CameraServer:
    return await start(notes={}, tls_cert=str(cert), tls_key=str(key))


def trusting(cert: Path) -> ssl.SSLContext:
    """Trusts this certificate and no other."""
    return ssl.create_default_context(cafile=str(cert))


async def test_the_page_is_https(start: Start, files: tuple[str, str]) -> None:
    cert = Path(files[0])
    server = await secure(start, cert, Path(files[1]))
    assert server.urls()[0] == f"https://127.0.0.1:{server.port}/"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        link = server.urls()[0].rstrip("/") + server.join_link()
        async with http.get(link, ssl=trusting(cert)) as answer:
            assert answer.status == 200 and answer.url.scheme == "https"
        [cookie] = list(http.cookie_jar)
        assert cookie["secure"] and cookie["httponly"]
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await http.get(link, ssl=ssl.create_default_context())


async def test_a_pairing_that_fails_does_not_use_the_code_up(
    start: Start, files: tuple[str, str], tmp_path: Path
) -> None:
    """Neither a certificate that is not trusted, nor a file that cannot be written."""
    server = await secure(start, Path(files[0]), Path(files[1]))
    await server.issue_keys("porch")
    assert server._archive is not None
    code = await Pairing(server._archive.index, server._clock).create("porch")
    there = f"{code}@{server.urls()[0].rstrip('/')}"
    token, trusted = tmp_path / "porch.token", {"SSL_CERT_FILE": files[0]}
    said = await command("pair", there, "--token-file", str(token))
    assert said.process.returncode == 69 and "is not trusted: self-signed" in said.text() and "ca_file" in said.text()
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "none" / "porch.token", tmp_path, tmp_path / "pipe"):
        said = await command("pair", there, "--token-file", str(place), env=trusted)
        assert said.process.returncode == 73 and said.text().startswith(f"camera-agent: {place}: ")
    assert (tmp_path / "pipe").is_fifo(), "what is no file is not made one"
    said = await command("pair", there, "--token-file", str(token), env=trusted)
    assert said.process.returncode == 0 and await server._cameras.check("porch", token.read_text().strip()) == 200
    assert [p.name for p in tmp_path.iterdir() if "token" in p.name] == ["porch.token"]


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"NO BROWSER at {CHROMIUM}: the page over TLS is NOT tested")
async def test_a_browser_sees_live_pictures_over_tls(start: Start, files: tuple[str, str]) -> None:
    server = await secure(start, Path(files[0]), Path(files[1]))
    await server.issue_keys("porch")
    camera = server._cameras.get("porch")
    assert camera is not None
    camera.sessions = 1
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = await browser.new_page(ignore_https_errors=True)
        await page.goto(server.urls()[0].rstrip("/") + server.join_link())
        assert await page.evaluate("isSecureContext && location.protocol") == "https:"

        async def film() -> None:
            n = 0
            while True:
                camera.publish(frame(n))
                n += 1
                await asyncio.sleep(0.1)

        filming = asyncio.create_task(film())
        await until(page, "window.cameraAgent?.lastFrame?.index > 3")
        filming.cancel()
        await browser.close()


async def test_files_that_change_are_taken_over(
    start: Start, files: tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = (Path(shutil.copy(f, tmp_path)) for f in files)
    server = await secure(start, cert, key)
    host = ("127.0.0.1", server.port)
    first = await asyncio.to_thread(ssl.get_server_certificate, host)
    assert first.split() == cert.read_text().split()

    cert.write_text("half a certificate")
    async with asyncio.timeout(60):
        while not any(
            str(cert) in r.getMessage() or "cannot use the TLS files" in r.getMessage() for r in caplog.records
        ):
            await asyncio.sleep(0.05)
    assert await asyncio.to_thread(ssl.get_server_certificate, host) == first, "the old one serves on"

    for old, new in zip((cert, key), certificate(tmp_path / "new"), strict=True):
        Path(new).replace(old)
    async with asyncio.timeout(60):
        while (await asyncio.to_thread(ssl.get_server_certificate, host)).split() != cert.read_text().split():
            await asyncio.sleep(0.1)
    async with aiohttp.ClientSession() as http, http.get(server.urls()[0] + "health", ssl=trusting(cert)) as answer:
        assert answer.status == 200


async def test_files_that_cannot_be_used_end_the_command(tmp_path: Path, files: tuple[str, str]) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("not a key")
    for cert, key, named in (
        (str(tmp_path / "gone.pem"), files[1], "gone.pem"),
        (files[0], str(garbage), "garbage.pem"),
    ):
        config = tmp_path / "server.yaml"
        store = tmp_path / "store"
        config.write_text(f"server: {{port: 0, store: {store}, tls_cert: {cert}, tls_key: {key}}}\n")
        process = await asyncio.create_subprocess_exec(
            *(*COMMAND, "server", "--config", str(config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(60):
            said = (await process.communicate())[0].decode()
        assert process.returncode == 78 and named in said and "Traceback" not in said, said


@pytest.mark.skipif(not shutil.which("curl"), reason="NO curl: the lines to paste are NOT tested")
async def test_the_lines_to_paste_reach_this_server_and_no_other(
    start: Start, files: tuple[str, str], tmp_path: Path
) -> None:
    server = await start(tls_cert=files[0], tls_key=files[1], ftp=True)
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(frame(1).data)
    lines = await lines_for_porch(server, files, tmp_path)
    for way in ("curl", "ftp"):
        before = await stored(server)
        assert await pasted(lines[way], tmp_path) == 0
        assert await stored(server) == before + 1
    foreign = certificate(tmp_path / "other")
    other = await start(store="other", tls_cert=foreign[0], tls_key=foreign[1], ftp=True)
    for way in ("curl", "ftp"):
        to_another = lines[way].replace(f":{server.port}/", f":{other.port}/")
        assert await pasted(to_another, tmp_path) == 90, "the key is not the one that is expected"


async def lines_for_porch(server: CameraServer, files: tuple[str, str], folder: Path) -> dict[str, str]:
    """What `virtual add` says beside the running server."""
    (folder / "server.yaml").write_text(
        f"server: {{port: {server.port}, store: '{server.settings.store}', tls_cert: '{files[0]}', "
        f"tls_key: '{files[1]}', ftp: true}}\n"
    )
    said = await command("virtual", "add", "porch", "--json", "-c", str(folder / "server.yaml"))
    while server._cameras.get("porch") is None:
        await asyncio.sleep(0.05)
    lines: dict[str, str] = json.loads(said.text())["lines"]
    return lines


async def test_an_agent_knows_a_server_that_nobody_certifies_by_its_key(
    start: Start, files: tuple[str, str], tmp_path: Path
) -> None:
    server = await start(tls_cert=files[0], tls_key=files[1])
    lines = await lines_for_porch(server, files, tmp_path)
    foreign = certificate(tmp_path / "other")
    other = await start(store="other", tls_cert=foreign[0], tls_key=foreign[1])
    run = [word.replace("SOURCE", "demo") for word in shlex.split(lines["agent"])[1:]]
    for scheme in ("wss", "https"):
        here = [word.replace("wss:", f"{scheme}:") for word in run]
        there = [word.replace(f":{server.port}", f":{other.port}") for word in here]
        agent = await Process.start(*here, env={"STATE_DIRECTORY": str(tmp_path / f"{scheme}-here")})
        astray = await Process.start(*there, env={"STATE_DIRECTORY": str(tmp_path / f"{scheme}-there")})
        await astray.said("has another key than the address says")
        while (camera := server._cameras.get("porch")) is None or not camera.connected:
            await asyncio.sleep(0.05)
        await agent.end()
        await astray.end()
    assert not any(c.connected for c in other._cameras.all())
    pair = shlex.split(lines["pair"])[1:]
    at = ("--token-file", str(tmp_path / "{camera}.token"))
    lost = await command(pair[0], pair[1].replace(f":{server.port}", f":{other.port}"), *at)
    assert lost.process.returncode == UNREACHABLE and "has another key" in lost.text()
    said = await command(*pair, *at)
    assert said.process.returncode == 0, said.text()
    assert await server._cameras.check("porch", (tmp_path / "porch.token").read_text().strip()) == 200
    sink = yaml.safe_load(said.text().partition("\n\n")[2])["sinks"][0]
    assert sink["url"] == f"wss://127.0.0.1:{server.port}#{pair[1].partition('#')[2]}"


@pytest.mark.parametrize("url", ["wss://h:1#x", "wss://h:1#sha256//AAAA=", f"ws://h:1#sha256//{'A' * 43}="])
def test_what_is_no_key_or_of_no_use_is_refused(url: str) -> None:
    for sink, address in ((WebSocketSink, url), (HttpSink, url.replace("ws", "http", 1))):
        with pytest.raises(ConfigError, match="#"):
            sink(url=address)


async def stored(server: CameraServer) -> int:
    await settled(server)
    assert server._archive is not None
    return (await server._archive.index.read(lambda rows: rows.items.used(type=ItemType.CLIP)))[0]


async def pasted(line: str, folder: Path) -> int:
    """The exit code of a line in a shell."""
    process = await asyncio.create_subprocess_shell(
        line.replace("curl ", "curl -sS --fail -m 20 ", 1), cwd=folder, stderr=asyncio.subprocess.STDOUT
    )
    return await process.wait()


async def test_who_is_certified_needs_no_pin(files: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    tls = Tls(*files)
    key = ("openssl", "x509", "-in", files[0], "-pubkey", "-noout")
    pem = subprocess.run(key, check=True, capture_output=True).stdout
    der = ("openssl", "pkey", "-pubin", "-outform", "der")
    digest = hashlib.sha256(subprocess.run(der, check=True, capture_output=True, input=pem).stdout).digest()
    assert tls.pin("https://127.0.0.1:8088", 8088) == f"sha256//{base64.b64encode(digest).decode()}"
    assert tls.pin("https://cameras.example.org", 8088) is None, "a proxy with a key of its own"
    monkeypatch.setenv("SSL_CERT_FILE", files[0])
    assert tls.pin("https://127.0.0.1:8088", 8088) is None
    assert tls.pin("https://10.0.0.1:8088", 8088) is not None, "it is not certified under that address"
