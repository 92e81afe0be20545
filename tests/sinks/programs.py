"""Real servers of other people, started on a free port of this machine and ended by their process id."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port


def need(program: str, package: str) -> str:
    """The path of a Debian program; skips the test, saying so, where it is not installed."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed (sudo apt install {package})")
    return found


@contextlib.contextmanager
def started(command: list[str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The program, from when it listens on `port` to the end of the block."""
    with open(log, "ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                text = log.read_text(errors="replace")[-2000:]
                assert process.poll() is None, f"{command[0]} ended at once:\n{text}"
                assert time.monotonic() < until, f"{command[0]} does not listen:\n{text}"
                time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def nginx(folder: Path, location: str, http: str = "") -> Iterator[int]:
    """Debian's nginx with its defaults; `location` is the inside of `location / {}`. The answer is its port."""
    binary = need("nginx", "nginx-light")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    places = "".join(
        f"  {name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\nuser root;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
        f"events {{ worker_connections 128; }}\n"
        f"http {{\n  access_log {folder}/access.log;\n{places}{http}\n"
        f"  server {{\n    listen 127.0.0.1:{port};\n    location / {{\n{location}\n    }}\n  }}\n}}\n"
    )
    with started([binary, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")], port, folder / "out"):
        yield port
