"""A server dies or loses power while a camera uploads by FTP: each picture that was answered is there, once."""

from __future__ import annotations

import ftplib
import hashlib
import io
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.server.fsck import check
from agent.server.ingest.journalfile import left_in
from tests.faults.rig import ROOT, Plug, no_plug
from tests.server.pictures import jpeg, kept

SERVER = """
import asyncio, sys
from agent.server.app import CameraServer, ServerSettings

async def main():
    server = CameraServer(ServerSettings(port=0, store=sys.argv[1], ftp_port=0), notes={}, durable=True)
    await server.start()
    keys = await server.issue_keys("porch")
    print(server.ftp_port, keys.login, keys.password, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.close()

asyncio.run(main())
"""


@contextmanager
def serving(store: Path, first: str = "") -> Iterator[tuple[subprocess.Popen[str], ftplib.FTP]]:
    """A server, after `first` was run in its process, and a camera that is logged in."""
    command = [sys.executable, "-c", first + SERVER, str(store)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port, login, password = server.stdout.readline().split()
            ftp = ftplib.FTP(timeout=20)
            ftp.connect("127.0.0.1", int(port))
            ftp.login(login, password)
            yield server, ftp
            ftp.close()
        finally:
            server.kill()


class Camera:
    """What it uploaded, by digest, and which of it was answered."""

    def __init__(self) -> None:
        self.sent: set[str] = set()
        self.answered: set[str] = set()

    def upload(self, ftp: ftplib.FTP) -> None:
        picture = jpeg(len(self.sent)) + b"%d" % len(self.sent)
        self.sent.add(digest := hashlib.sha256(picture).hexdigest())
        if ftp.storbinary(f"STOR {len(self.sent)}.jpg", io.BytesIO(picture)).startswith("226"):
            self.answered.add(digest)

    def check(self, store: Path) -> list[str]:
        """What is wrong with a store that a server has opened and closed again."""
        there = Counter(hashlib.sha256(data).hexdigest() for _, data in kept(store / "items"))
        report = check(store)
        wrong = [] if report.ok and not report.waiting else [str(report)]
        wrong += [f"{digest} is lost" for digest in self.answered - set(there)]
        wrong += [f"{digest} is there {n} times" for digest, n in there.items() if n > 1]
        return wrong + [f"{digest} is not the camera's" for digest in set(there) - self.sent]


def lives(store: Path, n: int, die: Callable[[subprocess.Popen[str]], None], first: str = "") -> list[str]:
    camera, rng = Camera(), random.Random(n)
    waited = 0
    for _ in range(n):
        with serving(store, first) as (server, ftp):
            for _ in range(rng.randrange(3, 40)):
                camera.upload(ftp)
            time.sleep(rng.choice((0, 0, 0.02, 0.3)))
            die(server)
        waited += check(store).waiting if left_in(store) else 0
    assert waited or first, "nothing was left to the next start: this proves little"
    with serving(store) as (server, ftp):
        deadline = time.monotonic() + 20
        while left_in(store) and time.monotonic() < deadline:
            time.sleep(0.05)
        camera.upload(ftp)
        while check(store).waiting and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.stdin is not None
        server.stdin.close()
        assert server.wait(20) == 0
    assert not left_in(store)
    return camera.check(store)


def kill(server: subprocess.Popen[str]) -> None:
    server.send_signal(signal.SIGKILL)
    server.wait()


def test_a_server_that_is_killed_loses_no_picture_that_it_answered(tmp_path: Path) -> None:
    assert not lives(tmp_path / "store", 5, kill)


@pytest.fixture
def plug(tmp_path: Path) -> Iterator[Plug]:
    if why := no_plug():
        pytest.skip(why)
    try:
        one = Plug(tmp_path, "disk", 192)
    except subprocess.CalledProcessError as e:
        pytest.skip(f"NO POWER CUTS: {e.stderr.decode().strip()}")
    yield one
    one.umount()


def pulled(plug: Plug) -> Callable[[subprocess.Popen[str]], None]:
    def die(server: subprocess.Popen[str]) -> None:
        plug.pull()
        kill(server)
        plug.mend()

    return die


def test_a_power_cut_loses_no_picture_that_was_answered(tmp_path: Path, plug: Plug) -> None:
    assert not lives(plug.path / "store", 4, pulled(plug))


@pytest.mark.parametrize(
    "plant",
    [
        "import os; os.fdatasync = lambda fd: None\n",
        "from agent.server.ingest import journal\n"
        "async def forget(path, hand): return path.unlink() or True\n"
        "journal.take_over = forget\n",
    ],
    ids=["nothing is synced", "what was left is forgotten"],
)
def test_power_cuts_find_what_is_not_kept(tmp_path: Path, plug: Plug, plant: str) -> None:
    for n in range(3):  # on a busy machine the kernel writes by itself before the plug is pulled
        if lives(plug.path / f"store-{n}", 3, pulled(plug), plant):
            return
    pytest.fail("nobody would have noticed")
