"""A script of hostile clients against a real server, each attack through every door that it can mean.

    python -m tests.faults.outside hostile [ATTACK ...]

A door is first shown to be open: the harmless request of which the attacks are made has its answer of success. Then the
bar: never a 500 nor a traceback, the server's peak at most 64 MiB above what it was at rest, and a neighbour, from
another address, whose uploads and questions are all answered, within a second.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
import json
import logging
import re
import sys
import tempfile
import time
from argparse import Namespace
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.product import ROOT, Process, running
from tests.server.people import PASSWORD
from tests.server.pictures import jpeg

MOST_MIB, LONGEST_S = 64.0, 1.0
HOST, NEIGHBOUR = "x", "127.0.0.2"  # the name in the script's requests; another address than the attacker's
NO_PICTURE = b"\xff\xd8x\xff\xd9"  # sent by the script where any picture would do
BODIES = "hugelength chunks gzip slowbody smuggle"
FRAMES = "wsbig wsfrag wsdeflate wsmask wsflood"
HELLO = b'{"t":"hello","agent":"x","spool":"0123456789abcdef","next":1}'
NUMBERS = itertools.count(1)
SETTINGS = b'{"name":"target","events":"motion"}'


@dataclass(frozen=True, slots=True)
class Door:
    """One way in, for these attacks.

    `headers` go with each request; `harmless` is the body that makes the answer begin with `good`, and `wrap` what it
    comes in; `first` is said at once in a WebSocket.
    """

    attacks: str
    path: str = ""
    good: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    harmless: bytes = b""
    wrap: Callable[[bytes], bytes] = bytes
    first: bytes = b""
    method: str = "PUT"

    def lines(self, body: bytes) -> str:
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        return "".join(f"{k}: {v.replace('{digest}', digest)}\r\n" for k, v in self.headers.items())


def doors(upload: str, manage: str) -> dict[str, Door]:
    """All that take something from a client; the values are a camera's token and a person's."""
    camera, live, picture = "/v1/cam/target", "/api/v1/cameras/target/live", jpeg(1)
    device, person = {"Authorization": f"Bearer {upload}"}, {"Authorization": f"Bearer {manage}"}
    item = device | {"Repr-Digest": "sha-256=:{digest}:", "Item-Type": "still"}
    agent = device | {"Sec-WebSocket-Protocol": "camera-agent.v1"}
    stream = device | {"Content-Type": "multipart/x-mixed-replace; boundary=P"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return {
        "port": Door("headers methods idle slowheaders", "/health", "200", method="GET"),
        "picture": Door(
            f"names filenames multipart jpegs {BODIES}", f"{camera}/picture/{{name}}", "201", device, picture
        ),
        "item": Door(f"jpegs {BODIES}", f"{camera}/item/0123456789abcdef-{{n}}", "201", item, picture),
        "mjpeg": Door(f"jpegs {BODIES}", f"{camera}/mjpeg", "200", stream, picture, _part),
        "api": Door("names", "/api/v1/cameras/{name}", "200", person, SETTINGS),
        "api, a body": Door(BODIES, "/api/v1/cameras/target", "200", person, SETTINGS),
        "login": Door(f"multipart {BODIES}", "/login", "403", form, b"user=owner&password=x", method="POST"),
        "uplink": Door(FRAMES, f"{camera}/stream", "101", agent),
        "uplink, after its hello": Door(FRAMES, f"{camera}/stream", "101", agent, first=HELLO),
        "live": Door(f"wsorigin {FRAMES}", live, "101", person),
        "live.ws": Door(f"wsorigin {FRAMES}", live + ".ws", "101", person),
        "ftp": Door("ftpbounce ftpnames"),
    }


def _part(picture: bytes) -> bytes:
    return b"--P\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(picture), picture)


@dataclass
class Served:
    """The server, and what its clients need."""

    process: Process
    store: Path
    port: int
    target: dict[str, Any]
    other: dict[str, Any]
    token: str

    @property
    def status(self) -> Path:
        return Path(f"/proc/{self.process.process.pid}/status")

    def mib(self, what: str) -> float:
        return int(self.status.read_text().partition(f"{what}:")[2].split()[0]) / 1024

    def forget_peak(self) -> None:
        self.status.with_name("clear_refs").write_text("5")


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    """A server with FTP at its one port, its owner, and two cameras."""
    config = folder / "server.yaml"
    config.write_text(f"server:\n  store: {folder}/store\n  port: 0\n  ftp: true\n  public_url: http://{HOST}\n")
    async with running("server", "-c", str(config)) as process:
        port = int((await process.said(r"http://127.0.0.1:(\d+)/"))[1])
        link = (await process.said(r"(/setup/\S+)"))[1]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            await http.post(link, data={"password": PASSWORD, "again": PASSWORD})
            made = []
            for name in ("target", "other"):
                camera = {"name": name, "events": "motion" if name == "target" else "pause"}
                made.append(await (await http.post("/api/v1/cameras", json=camera)).json())
            token = await (await http.post("/api/v1/tokens", json={"name": "t", "scope": "manage"})).json()
        yield Served(process, folder / "store", port, made[0], made[1], token["token"])


def client(script: Any, door: Door, server: Served) -> Any:
    """The script's client, going through a door."""

    class Way(Namespace):
        @property
        def put(self) -> str:
            return door.path.replace("{n}", str(next(NUMBERS)))

    class Client(script.H):  # type: ignore[misc]
        async def conn(self) -> Any:
            # From ever other addresses: no attack shall end at the door because another one had too many tries.
            here = (f"127.1.{next(NUMBERS) % 250}.{next(NUMBERS) % 250}", 0) if door.path == "/login" else None
            reader, writer = await asyncio.open_connection(self.host, self.port, local_addr=here)
            write = writer.write
            writer.write = lambda data: write(data.replace(b"PUT ", door.method.encode() + b" ", data[:4] == b"PUT "))
            return reader, writer

        def req(self, method: str, path: str, body: bytes = b"", extra: str = "") -> bytes:
            body = door.harmless if body == NO_PICTURE else body.replace(NO_PICTURE, door.harmless)
            body = door.wrap(body) if body else body
            self.auth = door.lines(body)
            if extra.startswith("Content-Type: image") and "Content-Type" in door.headers:
                extra = ""  # what it comes in has a type of its own
            elif extra.startswith("Content-Type"):
                self.auth = re.sub(r"Content-Type: [^\r]*\r\n", "", self.auth)
            return super().req(method, path, body, extra)  # type: ignore[no-any-return]

        async def wsopen(self, extra: str = "") -> Any:
            reader, writer, head = await super().wsopen(extra)
            if door.first:
                writer.write(self.frame(1, door.first))
                await asyncio.wait_for(reader.readuntil(b"}"), 5)
            return reader, writer, head

        async def wsend(self, data: bytes, extra: str = "", n: int = 1) -> str:
            """What the server closes with; pictures and pongs that come before are passed over."""
            try:
                reader, writer, head = await self.wsopen(extra)
                if b" 101 " not in head:
                    return str(head.split(b"\r\n")[0].decode())
                for _ in range(n):
                    writer.write(data)
                    await asyncio.wait_for(writer.drain(), 10)
                return await asyncio.wait_for(_closed(reader), 6)
            except TimeoutError:
                return "still open"
            except (OSError, asyncio.IncompleteReadError) as e:
                return type(e).__name__
            finally:
                writer.transport.abort()

    point = server.target["ftp"]
    a = Way(
        url=f"http://127.0.0.1:{server.port}",
        post=door.path.removesuffix("/{name}"),
        ws=door.path,
        ftp=f"127.0.0.1:{server.port}:{point['user']}:{point['password']}",
        token=None,
        probe="/health",
    )
    made = Client(a)
    made.auth = door.lines(b"")
    return made


async def _closed(reader: asyncio.StreamReader) -> str:
    """The code of the server's close."""
    while True:
        first, size = await reader.readexactly(2)
        if size >= 126:
            size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
        body = await reader.readexactly(size)
        if first == 0x88:
            return f"close {int.from_bytes(body[:2], 'big')}"


async def knock(one: Any, door: Door) -> str:
    """The status of a harmless request; FTP's is that of its login."""
    if not door.path:
        return "230"
    if door.good == "101":
        _, writer, head = await one.wsopen()
        writer.transport.abort()
        return str(head.split(b" ")[1].decode())
    path = one.a.put.replace("{name}", "target")
    body = NO_PICTURE if door.harmless else b""
    return str((await one.raw(one.req("PUT", path, body), 20)).split(" ")[1])


async def neighbour(port: int, upload: str, token: str) -> None:
    """Uploads a picture and asks for the events, each five times a second; a line for each: seconds, status."""
    picture, base = jpeg(2, 640, 480), f"http://127.0.0.1:{port}"
    connector = aiohttp.TCPConnector(local_addr=(NEIGHBOUR, 0), force_close=True)
    async with aiohttp.ClientSession(base, connector=connector, timeout=aiohttp.ClientTimeout(30)) as http:
        while True:
            for method, path, key, data in (
                ("PUT", "/v1/cam/other/picture", upload, picture),
                ("GET", "/api/v1/events", token, None),
            ):
                begin, status = time.monotonic(), "none"
                with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                    headers = {"Authorization": f"Bearer {key}"}
                    async with http.request(method, path, headers=headers, data=data) as answer:
                        status = str(answer.status)
                        await answer.read()
                print(json.dumps([time.monotonic() - begin, status]), flush=True)
            await asyncio.sleep(0.2)


async def attack(script: Any, wanted: list[str]) -> bool:
    """All of them, a line each; whether the bar was held."""
    good = True
    with tempfile.TemporaryDirectory() as folder:
        async with served(Path(folder)) as server:
            args = ("-m", "tests.faults.hostile", str(server.port), server.other["token"], server.token)
            other = await asyncio.create_subprocess_exec(sys.executable, *args, stdout=PIPE, stderr=PIPE, cwd=ROOT)
            heard = Process(other)
            try:
                ways = doors(server.target["token"], server.token)
                for name, door in ways.items():
                    status = await knock(client(script, door, server), door)
                    if status != (door.good or "230"):
                        raise AssertionError(f"the door '{name}' is shut: {status}")
                await asyncio.sleep(1)
                rest = server.mib("VmRSS")
                for name, door in ways.items():
                    for kind in door.attacks.split():
                        if not wanted or kind in wanted:
                            good &= await _one(script, kind, name, door, server, heard, rest)
            finally:
                other.kill()
                await heard.end(None)
            said = server.process.text()
    bad = [line for line in said.splitlines() if "Traceback" in line or "ERROR" in line]
    if bad:
        print(f"FAIL the server says {len(bad)} such things:\n{said[:5000]}")
    return good and not bad


async def _one(script: Any, kind: str, name: str, door: Door, server: Served, other: Process, rest: float) -> bool:
    other.out.clear()
    server.forget_peak()
    begin = time.monotonic()
    result = await getattr(client(script, door, server), kind)()
    await asyncio.sleep(0.5)
    peak = server.mib("VmHWM") - rest
    heard = [json.loads(line) for line in other.out]
    worst = max((s for s, _ in heard), default=99.0)
    refused = sum(status not in ("200", "201") for _, status in heard)
    told = json.dumps(result, ensure_ascii=False)
    held = not re.search(r"HTTP/1\.[01] 500|harness", told) and peak <= MOST_MIB and worst <= LONGEST_S and not refused
    print(
        f"{'ok  ' if held else 'FAIL'} {kind} at {name}: {told[:1500]}; {time.monotonic() - begin:.1f} s,"
        f" peak {peak:+.1f} MiB; neighbour {len(heard)} answers, {refused} refused, the slowest {worst:.2f} s",
        flush=True,
    )
    return held


def main(script: Any, wanted: list[str]) -> bool:
    """Whether the bar was held by all, or by those wanted."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # the script writes on where it was cut off
    return asyncio.run(attack(script, wanted))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(neighbour(int(sys.argv[1]), *sys.argv[2:]))
