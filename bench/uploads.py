"""Ways out beside the bare clients of Python's library: time and CPU of the sender for each 60 kB picture, loopback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ftplib
import hashlib
import http.client
import io
import logging
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.frame import ItemType
from agent.hub import Hub
from agent.outbox import MemoryOutbox
from agent.sinks import Feed, Sink, from_url
from agent.sinks.ftp import FtpSink
from agent.sinks.put import PutSink

ITEMS, SIZE, ROUNDS = 300, 60_000, 5
USER = "bench"
Figure = tuple[float, float]


def main() -> None:
    pictures = [b"\xff\xd8" + secrets.token_bytes(SIZE - 2) for _ in range(ITEMS)]
    with tempfile.TemporaryDirectory() as folder, _camera_server(folder) as (port, token):
        _row(
            {
                "http.client PUT, camera server": lambda: _bare_put(pictures, port, token),
                "sink http": lambda: _sink(pictures, from_url(f"http://:{token}@127.0.0.1:{port}")),
                "sink websocket": lambda: _sink(pictures, from_url(f"ws://:{token}@127.0.0.1:{port}")),
            }
        )
    with tempfile.TemporaryDirectory() as folder, _ftp_server(folder) as port:
        ftp = FtpSink(url=f"ftp://127.0.0.1:{port}", username=USER, password=USER, tls="none")
        _row(
            {
                "ftplib STOR, pyftpdlib": lambda: _bare_stor(pictures, port),
                "ftplib STOR, SIZE, rename": lambda: _bare_stor(pictures, port, whole=True),
                "sink ftp": lambda: _sink(pictures, ftp),
            }
        )
    try:
        from tests.sinks.programs import nginx
    except ImportError:
        print("nginx: SKIPPED (pytest is not installed)")
        return
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        dav = Path(folder) / "dav"
        dav.mkdir()
        location = f"root {dav}; dav_methods PUT; create_full_put_path on; client_max_body_size 0;"
        try:
            port = stack.enter_context(nginx(Path(folder) / "nginx", location))
        except BaseException as e:  # pytest's Skipped is no Exception
            print(f"nginx: SKIPPED ({e})")
            return
        _row(
            {
                "http.client PUT, nginx dav": lambda: _bare_plain(pictures, port),
                "sink put": lambda: _sink(pictures, PutSink(url=f"http://127.0.0.1:{port}")),
            }
        )


def _row(ways: dict[str, Callable[[], None]]) -> None:
    """Side by side: each in turn, some rounds, medians; ratios are to the first."""
    found: dict[str, list[Figure]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            way()
            found[name].append((time.perf_counter() - wall_s, time.process_time() - cpu_s))
    base: Figure | None = None
    for name, figures in found.items():
        wall, cpu = (statistics.median(f[i] for f in figures) / ITEMS * 1000 for i in (0, 1))
        base = base or (wall, cpu)
        print(
            f"{name:34} {wall:6.2f} ms ({wall / base[0]:4.2f}x)   CPU {cpu:5.2f} ms ({cpu / base[1]:4.2f}x)", flush=True
        )


def _sink(pictures: list[bytes], sink: Sink) -> None:
    async def run() -> None:
        box = MemoryOutbox("bench")
        for picture in pictures:
            box.put(ItemType.STILL, 0, time.time_ns(), picture)
        task = asyncio.ensure_future(sink.run(Feed("bench", box, Hub())))
        drained = asyncio.ensure_future(box.drained())
        await asyncio.wait({task, drained}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def _bare_put(pictures: list[bytes], port: int, token: str) -> None:
    spool = secrets.token_hex(8)
    client = http.client.HTTPConnection("127.0.0.1", port)
    for seq, picture in enumerate(pictures, 1):
        digest = base64.b64encode(hashlib.sha256(picture).digest()).decode()
        headers = {"Authorization": f"Bearer {token}", "Repr-Digest": f"sha-256=:{digest}:", "Item-Type": "still"}
        client.request("PUT", f"/v1/cam/bench/item/{spool}-{seq}", picture, headers)
        answer = client.getresponse()
        answer.read()
        assert answer.status == 201, answer.status
    client.close()


def _bare_plain(pictures: list[bytes], port: int) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port)
    for n, picture in enumerate(pictures):
        client.request("PUT", f"/bare/{n}.jpg", picture)
        answer = client.getresponse()
        answer.read()
        assert answer.status in (201, 204), answer.status
    client.close()


def _bare_stor(pictures: list[bytes], port: int, whole: bool = False) -> None:
    with ftplib.FTP(timeout=30) as client:
        client.connect("127.0.0.1", port)
        client.login(USER, USER)
        client.voidcmd("TYPE I")
        for n, picture in enumerate(pictures):
            client.storbinary(f"STOR {n}.jpg.part" if whole else f"STOR {n}.jpg", io.BytesIO(picture))
            if whole:
                assert client.size(f"{n}.jpg.part") == len(picture)
                client.rename(f"{n}.jpg.part", f"{n}.jpg")


@contextlib.contextmanager
def _process(call: str, *args: str) -> Iterator[list[str]]:
    command = [sys.executable, "-W", "ignore", "-c", f"from bench import uploads; uploads.{call}", *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().split()
        finally:
            server.kill()


@contextlib.contextmanager
def _camera_server(folder: str) -> Iterator[tuple[int, str]]:
    with _process("serve_items(__import__('sys').argv[1])", folder) as (port, token):
        yield int(port), token


@contextlib.contextmanager
def _ftp_server(folder: str) -> Iterator[int]:
    with _process("serve_ftp(__import__('sys').argv[1])", folder) as (port,):
        yield int(port)


def serve_items(folder: str) -> None:
    """A camera server without syncs, which would hide everything else; prints its port and a token."""
    from agent.server.app import CameraServer, ServerSettings

    async def run() -> None:
        server = CameraServer(ServerSettings(port=0, store=folder), durable=False, notes={})
        await server.start()
        print(server.port, await server.issue_token("bench"), flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


def serve_ftp(folder: str) -> None:
    """pyftpdlib; prints its port."""
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import FTPServer

    logins = DummyAuthorizer()
    logins.add_user(USER, USER, folder, perm="elradfmwMT")
    handler = type("Handler", (FTPHandler,), {"authorizer": logins})
    server = FTPServer(("127.0.0.1", 0), handler)
    print(server.address[1], flush=True)
    logging.disable()
    server.serve_forever()
