"""Clients of the field through the dispatcher, to services of this process and of others."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import async_playwright

from agent.dispatch.http import http_service, own_paths
from agent.dispatch.limits import Limits
from agent.dispatch.matchers import Http, Mqtt, Silence, Ssh, Tls
from agent.dispatch.peek import Route
from agent.dispatch.records import End
from agent.dispatch.relay import Relay
from agent.dispatch.services import Terminate
from tests.dispatch.rig import Rig, backend, http_backend, running
from tests.dispatch.test_services import Site, app, certificate, server_tls

__all__ = ["certificate"]

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
NODE_MODULES = Path("/usr/share/nodejs")
LIMITS = Limits(silence_s=0.3, sniff_deadline_s=5.0, linger_s=0.5)


def needs(program: str) -> str:
    """Its path; skips, and says so, where there is none."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"NO {program}: it is NOT tested")
    return path


async def run(*command: str, code: int | None = 0, stdin: bytes = b"", **env: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=-1, stdout=-1, stderr=asyncio.subprocess.STDOUT, env=os.environ | env
    )
    async with asyncio.timeout(80):
        said = (await process.communicate(stdin))[0].decode(errors="replace")
    assert code is None or process.returncode == code, said
    return said


async def ssh_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The exchange of versions, then the end."""
    writer.write(b"SSH-2.0-dispatched\r\n")
    assert (await reader.readline()).startswith(b"SSH-2.0-OpenSSH")


async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """MQTT 3.1.1 as far as one message of quality 1."""

    async def packet() -> tuple[int, bytes]:
        kind, size = await reader.readexactly(2)
        return kind >> 4, await reader.readexactly(size)

    assert (await packet())[0] == 1
    writer.write(b"\x20\x02\0\0")
    kind, body = await packet()
    topic = int.from_bytes(body[:2], "big")
    assert kind == 3 and body[2 + topic + 2 :] == b"moving"
    writer.write(b"\x40\x02" + body[2 + topic : 4 + topic])
    assert (await packet())[0] == 14


@pytest.fixture
async def port(certificate: Path) -> AsyncIterator[Rig]:
    """In-process /in and /two, a foreign /out, TLS, SSH, MQTT, and a greeting for the silent."""
    routes = [
        Route("far", "far", (Tls(sni=("far.example.org",)),)),
        Route("tls", "tls", (Tls(),)),
        Route("in", "in", (Http(paths=("/in", "/favicon.ico")),)),
        Route("two", "two", (Http(paths=("/two",)),)),
        Route("out", "out", (Http(paths=("/out",)),)),
        Route("ssh", "ssh", (Ssh(),)),
        Route("mqtt", "mqtt", (Mqtt(),)),
        Route("silent", "greet", (Silence(),)),
    ]

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read(1)

    async with contextlib.AsyncExitStack() as stack:
        here = await stack.enter_async_context(Site(own_paths("/in", "/favicon.ico")))
        two = await stack.enter_async_context(Site(own_paths("/two")))
        outside = web.AppRunner(_outside(), shutdown_timeout=0.5)
        await outside.setup()
        stack.push_async_callback(outside.cleanup)
        site = web.TCPSite(outside, "127.0.0.1", 0)
        await site.start()
        services = {
            "in": http_service(here.runner),
            "two": http_service(two.runner),
            "out": Relay("127.0.0.1", outside.addresses[0][1]),
            "tls": Terminate(server_tls(certificate)),
        }
        for name, talk in (("ssh", ssh_server), ("mqtt", broker), ("greet", greet), ("far", http_backend("far"))):
            services[name] = Relay("127.0.0.1", await stack.enter_async_context(backend(talk)))
        yield await stack.enter_async_context(running(routes, services, LIMITS))


def _outside() -> web.Application:
    it = web.Application(client_max_size=2**30)
    it.router.add_route("*", "/{tail:.*}", app)
    return it


@pytest.mark.parametrize("path", ["/in", "/out"])
@pytest.mark.parametrize(
    "how",
    [
        (),
        ("--http1.0",),
        ("-T", "@"),
        ("-T", "@", "-H", "Transfer-Encoding: chunked"),
        ("-F", "f=@@"),
        ("-T", "@", "-H", "Expect: 100-continue"),
        ("-I",),
    ],
    ids=lambda how: " ".join(how),
)
async def test_curl(port: Rig, tmp_path: Path, path: str, how: tuple[str, ...]) -> None:
    file = tmp_path / "f"
    file.write_bytes(bytes(range(256)) * 4000)
    options = [w.replace("@@", f"@{file}") if "=" in w else (str(file) if w == "@" else w) for w in how]
    urls = [f"http://127.0.0.1:{port.port}{path}/{n}" for n in ("a", "b")]
    said = await run(needs("curl"), "-sS", "-m", "20", *options, urls[0], *([urls[1]] if "-T" not in how else []))
    if "-T" in how:
        assert hashlib.sha256(file.read_bytes()).hexdigest() in said
    elif "-I" in how:
        assert said.count("200 OK") == 2
    else:
        assert said.count(f'"path": "{path}/') == 2


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.mark.nightly
@pytest.mark.parametrize("path", ["/in", "/out"])
@pytest.mark.parametrize("chunked", [True, False])
async def test_a_gibibyte_goes_through_in_little_memory(port: Rig, tmp_path: Path, path: str, chunked: bool) -> None:
    file = tmp_path / "big"
    with file.open("wb") as f:
        f.truncate(1 << 30)
    before, most = resident_kib(), 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, resident_kib())
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    how = ("-H", "Transfer-Encoding: chunked") if chunked else ()
    said = await run(needs("curl"), "-sS", "-m", "60", "-T", str(file), *how, f"http://127.0.0.1:{port.port}{path}/u")
    watching.cancel()
    assert f'"size": {1 << 30}' in said
    assert most - before < 32 * 1024


async def test_curl_over_tls_and_by_name(port: Rig, certificate: Path) -> None:
    curl, at = needs("curl"), f"127.0.0.1:{port.port}"
    for path in ("/in/x", "/out/x"):
        url = f"https://localhost:{port.port}{path}"
        said = await run(curl, "-sS", "-m", "20", "--cacert", str(certificate), "--connect-to", f"::{at}", url)
        assert f'"path": "{path}"' in said
    # Passed on by its name, the ClientHello is nothing that a plain HTTP backend could answer.
    url = f"https://far.example.org:{port.port}/"
    await run(curl, "-sS", "-m", "2", "-k", "--connect-to", f"::{at}", url, code=None)
    records = await port.ended(3)
    assert [r.rule for r in records] == ["in", "out", "far"]


async def test_ssh_exchanges_its_version(port: Rig) -> None:
    said = await run(needs("ssh"), "-v", "-o", "StrictHostKeyChecking=no", "-p", str(port.port), "127.0.0.1", code=255)
    assert "remote software version dispatched" in said
    assert (await port.ended())[0].rule == "ssh"


async def test_mosquitto_publishes(port: Rig) -> None:
    await run(needs("mosquitto_pub"), "-p", str(port.port), "-t", "porch/motion", "-m", "moving", "-q", "1")
    assert (await port.ended())[0].rule == "mqtt"


async def test_lftp_is_greeted(port: Rig) -> None:
    script = f"set net:timeout 3; set net:max-retries 1; debug 5; open -p {port.port} 127.0.0.1; ls; bye"
    assert "220 hello" in await run(needs("lftp"), "-c", script, code=None)


WS = """
const WebSocket = require('ws');
(async () => { for (const url of process.argv.slice(1)) await new Promise((done, fail) => {
  const ws = new WebSocket(url); let n = 0; ws.on('error', fail);
  const all = [Buffer.from([0,0,97,0,98,255,0]), Buffer.alloc(300000), 'a\\0b'];
  ws.on('open', () => ws.send(all[0]));
  ws.on('message', (m, binary) => { const want = all[n++];
    if (binary !== Buffer.isBuffer(want) || Buffer.compare(m, Buffer.from(want))) fail(new Error('differs: ' + n));
    if (n < all.length) ws.send(all[n]); else { ws.close(); console.log('same'); done(); } }); }); })()
  .catch(e => { console.log(e); process.exit(1); });
"""


async def test_node_ws_gets_its_nuls_back(port: Rig) -> None:
    if not (NODE_MODULES / "ws").exists():
        pytest.skip("NO node-ws: it is NOT tested")
    urls = [f"ws://127.0.0.1:{port.port}/{path}" for path in ("in/ws", "out/ws")]
    assert (await run(needs("node"), "-e", WS, *urls, NODE_PATH=str(NODE_MODULES))).count("same") == 2
    assert [r.service for r in await port.ended(2)] == ["in", "out"]


PAGE = """async () => {
  const got = [];
  for (const path of ['/in/1', '/two/1', '/out/1', '/in/2', '/two/2', '/out/2'])
    got.push((await (await fetch(path, {method: path.endsWith('2') ? 'POST' : 'GET', body: path.endsWith('2') ?
      new Uint8Array(70000) : undefined})).json()).path);
  for (const path of ['/in/ws', '/out/ws']) got.push(await new Promise((done, fail) => {
    const ws = new WebSocket('ws://' + location.host + path); ws.binaryType = 'arraybuffer'; ws.onerror = fail;
    ws.onopen = () => ws.send(new Uint8Array([0, 0, 97, 0]));
    ws.onmessage = m => { done(new Uint8Array(m.data).join()); ws.close(); }; }));
  return got;
}"""


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"NO BROWSER at {CHROMIUM}: it is NOT tested")
async def test_chromium_finds_each_prefixs_service(port: Rig) -> None:
    """Its kept-alive connections meet paths of other services: 421 and closed ones, which it tries again by itself."""
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = await browser.new_page()
        await page.goto(f"http://127.0.0.1:{port.port}/in/")
        await asyncio.sleep(1.0)  # what it connected in advance is greeted as silent, and must not be used after that
        got = await page.evaluate(PAGE)
        await browser.close()
    assert got == ["/in/1", "/two/1", "/out/1", "/in/2", "/two/2", "/out/2", "0,0,97,0", "0,0,97,0"]
    assert all(r.end is not End.ERROR for r in port.records)
