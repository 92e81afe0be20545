"""FTP ingest beside pyftpdlib: CPU of the server for each 30 kB upload, over loopback."""

from __future__ import annotations

import asyncio
import ftplib
import io
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.measure import cpu_s

UPLOADS, SESSIONS, ROUNDS = 1000, 300, 2
SETTLE_S = 1.5
"""Until what was answered is in the archive: that counts, too."""
SERVERS = {
    "pyftpdlib, to files": "pyftpdlib",
    "pyftpdlib, with our syncs": "synced",
    "ours, to nowhere": "bare",
    "ours, into the archive": "ours",
    "ours, into the archive, synced": "durable",
}


def main() -> None:

    picture = jpeg(30_000)
    # As from another machine: next to a client on the same core, a server of one thread never waits and is not woken.
    cores = os.sched_getaffinity(0)
    client = {max(cores)}
    servers = cores - client or cores
    os.sched_setaffinity(0, client)
    print(f"{UPLOADS} uploads in one session, then {SESSIONS} sessions of one; pictures of {len(picture)} bytes")
    print("CPU an upload, and beside pyftpdlib as it is / with the syncs that ours makes in the archive")
    # The folders stay until the end: ext4 looks past every inode that was freed lately when it makes a file.
    with tempfile.TemporaryDirectory() as folder:
        rounds = [
            {kind: measure(kind, tempfile.mkdtemp(dir=folder), picture, servers) for kind in SERVERS.values()}
            for _ in range(ROUNDS)
        ]
    best = {kind: [min(r[kind][i] for r in rounds) for i in (0, 1)] for kind in SERVERS.values()}
    for name, kind in SERVERS.items():
        plain, synced = best["pyftpdlib"], best["synced"]
        many, single = (
            f"{x * 1000:5.2f} ms ({x / plain[i]:4.2f}x / {x / synced[i]:4.2f}x)" for i, x in enumerate(best[kind])
        )
        print(f"{name:32} one session {many}   a session each {single}", flush=True)


def measure(kind: str, folder: str, picture: bytes, cores: set[int]) -> tuple[float, float]:
    """CPU seconds of the server, on these cores, for an upload: in one session, and in a session of its own."""
    command = [sys.executable, "-c", "from bench import ftp; ftp.serve(*__import__('sys').argv[1:])", kind, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            os.sched_setaffinity(server.pid, cores)
            assert server.stdout is not None
            port, user, password = server.stdout.readline().split()
            names = (f"{n}.jpg" for n in itertools.count())  # each another, as cameras name them
            _upload(int(port), user, password, picture, 20, names)
            time.sleep(SETTLE_S)
            start = cpu_s(server.pid)
            _upload(int(port), user, password, picture, UPLOADS, names)
            time.sleep(SETTLE_S)
            many = (cpu_s(server.pid) - start) / UPLOADS
            start = cpu_s(server.pid)
            for _ in range(SESSIONS):
                _upload(int(port), user, password, picture, 1, names)
            time.sleep(SETTLE_S)
            return many, (cpu_s(server.pid) - start) / SESSIONS
        finally:
            server.kill()


def _upload(port: int, user: str, password: str, picture: bytes, count: int, names: Iterator[str]) -> None:
    with ftplib.FTP(timeout=30) as client:
        client.connect("127.0.0.1", port)
        client.login(user, password)
        for name in itertools.islice(names, count):
            client.storbinary(f"STOR {name}", io.BytesIO(picture))


def jpeg(size: int) -> bytes:
    """A real picture with a comment that brings it to the size."""
    import cv2
    import numpy as np

    small = cv2.imencode(".jpg", np.random.default_rng(1).integers(0, 255, (96, 96, 3), np.uint8))[1].tobytes()
    fill = size - len(small) - 4
    return small[:2] + b"\xff\xfe" + (fill + 2).to_bytes(2, "big") + bytes(fill) + small[2:]


def serve(kind: str, folder: str) -> None:
    """A server process; prints its port and a login."""
    if kind in ("pyftpdlib", "synced"):
        _pyftpdlib(folder, kind == "synced")
    else:
        asyncio.run(_ours(kind, Path(folder)))


def _pyftpdlib(folder: str, synced: bool) -> None:
    """`synced`: the file, its folder and a line of a journal are synced with each upload."""
    import logging

    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import FTPServer

    logging.disable()
    journal = os.open(f"{folder}.journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.unlink(f"{folder}.journal")

    class Synced(FTPHandler):  # type: ignore[misc]
        def on_file_received(self, file: str) -> None:
            for path in (file, folder):
                fd = os.open(path, os.O_RDONLY)
                os.fsync(fd)
                os.close(fd)
            os.write(journal, file.encode() + b"\n")
            os.fsync(journal)

    handler = Synced if synced else FTPHandler
    FTPHandler.authorizer = DummyAuthorizer()
    FTPHandler.authorizer.add_user("user", "password", folder, perm="elradfmw")
    server = FTPServer(("127.0.0.1", 0), handler)
    print(server.address[1], "user", "password", flush=True)
    server.serve_forever()


async def _ours(kind: str, folder: Path) -> None:
    from agent.server.app import CameraServer, ServerSettings
    from agent.server.archive import Outcome
    from agent.server.ingest import pictures
    from agent.server.ingest.pictures import Pictures

    pictures.UPLOADS_PER_S = pictures.BURST = 10**9
    if kind == "bare":

        async def nowhere(self: Pictures, data: bytes) -> tuple[Outcome, bool]:
            return Outcome.STORED, True

        Pictures.upload = nowhere  # type: ignore[method-assign]
    settings = ServerSettings(port=0, store=str(folder / "store"), ftp_port=0)
    server = CameraServer(settings, notes={}, durable=kind == "durable")
    await server.start()
    keys = await server.issue_keys("porch")
    print(server.ftp_port, keys.login, keys.password, flush=True)
    await asyncio.Event().wait()
