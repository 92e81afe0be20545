"""Agent and server as processes that are killed and started again, disks that lose power, lines that misbehave."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.agent import promised
from tests.faults.verdict import verdict
from tests.ports import held_port

ROOT = Path(__file__).parents[2]
SHUTDOWN = (2 << 30) | (4 << 16) | (ord("X") << 8) | 125  # EXT4_IOC_SHUTDOWN
NO_LOG_FLUSH = 2


class Rig:
    """`store` and `spool` may be on file systems of their own; `broken` plants faults (planted.py) by side."""

    NO_END = 10**9

    def __init__(self, folder: Path, *, store: Path | None = None, spool: Path | None = None, **broken: str) -> None:
        self.store = store or folder / "store"
        self.spool = spool or folder / "spool"
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self.count = self.NO_END
        self.broken = broken
        self.args: dict[str, list[str]] = {"agent": [], "server": []}
        self.env: dict[str, dict[str, str]] = {"agent": {}, "server": {}}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.port, self._held = held_port()
        self.target = self.port

    def _command(self, who: str) -> list[str]:
        if who == "server":
            args = ["--store", str(self.store), "--port", str(self.port)]
        else:
            args = ["--spool", str(self.spool), "--url", f"ws://127.0.0.1:{self.target}", "--ledger", str(self.ledger)]
            args += ["--count", str(self.count)]
        broken = ["--break", self.broken.get(who, "")]
        return [sys.executable, "-m", f"tests.faults.{who}", *args, *broken, *self.args[who]]

    def start(self, who: str) -> None:
        with self._log(who).open("wb") as out:
            self.processes[who] = subprocess.Popen(
                self._command(who), cwd=ROOT, stdout=out, stderr=out, env=os.environ | self.env[who]
            )

    def _log(self, who: str) -> Path:
        return self.ledger.with_name(f"{who}.log")

    def alive(self, who: str) -> bool:
        return who in self.processes and self.processes[who].poll() is None

    def kill(self, who: str, with_signal: int = signal.SIGKILL) -> None:
        if self.alive(who):
            self.processes[who].send_signal(with_signal)
            self.processes[who].wait()

    def listening(self, timeout_s: float = 60) -> None:
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s and self.alive("server"):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"the server does not come up: {self._log('server').read_text()[-1000:]}")

    def more(self, items: int = 1, timeout_s: float = 60) -> None:
        """Wait until so many more items are promised: a kill before anything happened tests nothing."""
        want, end_s = promised(self.ledger) + items, time.monotonic() + timeout_s
        while promised(self.ledger) < want and time.monotonic() < end_s:
            time.sleep(0.02)

    def drain(self, stuck_s: float = 60) -> bool:
        """No more faults and no new items: does everything arrive by itself? Not, if nothing came for so long."""
        self.kill("agent")
        self.count = promised(self.ledger)
        if not self.alive("server"):
            self.start("server")
        self.listening()  # an agent that has nothing left ends at once: there shall be a store to judge
        self.start("agent")
        self.count = self.NO_END  # who goes on after this brings more
        stored, since_s = -1, time.monotonic()
        while time.monotonic() - since_s < stuck_s:
            try:
                return self.processes["agent"].wait(0.5) == 0
            except subprocess.TimeoutExpired:
                found = sum(1 for _ in (self.store / "items").rglob("*.*"))
            if found != stored:
                stored, since_s = found, time.monotonic()
        return False

    def judge(self) -> dict[str, Any]:
        return verdict(self.store, self.ledger)

    def end(self) -> None:
        for who in self.processes:
            self.kill(who)
        self._held.close()


@contextmanager
def rig(folder: Path, **more: Any) -> Iterator[Rig]:
    one = Rig(folder, **more)
    try:
        yield one
    finally:
        one.end()


class Plug:
    """An ext4 file system in a file whose plug can be pulled: what was not synced is gone, names and renames too."""

    def __init__(self, folder: Path, name: str, mib: int = 96) -> None:
        self.image = folder / f"{name}.img"
        self.path = folder / name
        self.path.mkdir()
        with open(self.image, "wb") as f:
            f.truncate(mib << 20)
        _run("mkfs.ext4", "-q", str(self.image))
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", "loop,errors=remount-ro", str(self.image), str(self.path))

    def pull(self) -> None:
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def mend(self) -> None:
        """Power is back; everybody who used it must have ended."""
        self.umount()
        self._mount()

    def umount(self) -> None:
        for _ in range(50):
            if subprocess.run(["umount", str(self.path)], capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        subprocess.run(["umount", "-l", str(self.path)], capture_output=True)


def _run(*args: str) -> None:
    subprocess.run(args, check=True, capture_output=True)


def no_plug() -> str:
    """Why there can be no power cuts here; "" if there can."""
    if os.geteuid() != 0:
        return "NO POWER CUTS: they need root"
    if not shutil.which("mkfs.ext4") or not os.path.exists("/dev/loop-control"):
        return "NO POWER CUTS: no mkfs.ext4 or no loop device"
    return ""


class Proxy:
    """A TCP proxy that misbehaves: `mode` is for connections made after it was set.

    pass; refuse; cut (after `after` bytes up); deaf (the answer never comes); hang (nothing goes on, both ways);
    garbage (other bytes down); double (each connection also to another one of the server); slow (`rate` bytes/s up).
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self.port = 0
        self.mode, self.after, self.rate = "pass", 0, 30_000.0
        self.connections = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2)

    def cut(self) -> None:
        """Reset everything that is open."""
        for writer in list(self._open):
            _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        mode, opened = self.mode, [writer]
        self._open.add(writer)
        try:
            if mode == "refuse":
                return
            for _ in range(2 if mode == "double" else 1):
                others = await asyncio.open_connection("127.0.0.1", self._to)
                opened.append(others[1])
                self._open.add(others[1])
                if len(opened) == 2:
                    answers = others[0]
            up = asyncio.create_task(self._up(mode, reader, opened[1:]))
            down = asyncio.create_task(self._down(mode, answers, writer))
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            for one in (up, down):
                one.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
        except OSError:
            pass
        finally:
            for one_writer in opened:
                self._open.discard(one_writer)
                _reset(one_writer)
            self._tasks.discard(task)

    async def _up(self, mode: str, reader: asyncio.StreamReader, writers: list[asyncio.StreamWriter]) -> None:
        done = 0
        while data := await reader.read(1500 if mode == "slow" else 65536):
            if mode == "hang" and done > 2000:
                await asyncio.Event().wait()
            if mode == "cut" and done + len(data) > self.after:
                writers[0].write(data[: self.after - done])
                await writers[0].drain()
                await asyncio.sleep(0.05)
                return
            done += len(data)
            for writer in writers:
                writer.write(data)
                await writer.drain()
            if mode == "slow":
                await asyncio.sleep(len(data) / self.rate)

    async def _down(self, mode: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        done = 0
        while data := await reader.read(65536):
            done += len(data)
            if mode in ("deaf", "hang") and done > 600:
                await asyncio.Event().wait()
            writer.write(os.urandom(len(data)) if mode == "garbage" else data)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    found = writer.get_extra_info("socket")
    try:
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    writer.transport.abort()
