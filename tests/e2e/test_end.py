"""SIGTERM is an end soon, whatever a camera or a server far away keeps the program waiting for."""

import asyncio
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.product import COMMAND, ROOT, running

SOON_S = 10.0
NAMELESS = (
    "ip link set lo up && mount --bind {conf} /etc/resolv.conf || exit 99\n"
    '{python} -c \'import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(("127.0.0.1", 53)); '
    'open("{ready}", "w"); time.sleep(40)\' &\n'
    "exec {command}"
)
"""In a network of its own, whose one name server never answers."""


def alone(*command: str) -> tuple[str, ...]:
    return ("unshare", "--map-root-user", "--net", "--mount", *command)


@pytest.fixture
def full_port() -> Iterator[int]:
    """Nobody accepts there, and nobody refuses: a new connection waits for a minute and more."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        clients = [socket.socket() for _ in range(4)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]
        for client in clients:
            client.close()


@pytest.mark.parametrize(
    "to", ["ftp://u:p@127.0.0.1:{port}/x", "http://:t@127.0.0.1:{port}", "ws://:t@127.0.0.1:{port}"]
)
async def test_while_a_server_is_being_connected(full_port: int, to: str) -> None:
    async with running("run", "--source", "demo", "--to", to.format(port=full_port)) as agent:
        await agent.said("→")
        await asyncio.sleep(2)
        assert await agent.end(timeout_s=SOON_S) == 0


async def test_while_a_disk_takes_nothing(tmp_path: Path) -> None:
    """As on a share whose server is gone: opening a pipe that nobody reads from hangs."""
    folder, file = tmp_path / "share", tmp_path / "c.yaml"
    folder.mkdir()
    os.mkfifo(folder / "1.jpg.part")
    os.mkfifo(folder / "1.json.part")
    sink = f"{{type: disk, folder: {folder}, path: '{{event}}.jpg'}}"
    file.write_text(f"cameras: {{porch: {{source: {{type: demo}}}}}}\nsinks: [{sink}]\n")
    async with running("run", "-c", str(file)) as agent:
        await agent.said("event 1 begins")
        await asyncio.sleep(1)
        assert await agent.end(timeout_s=SOON_S) == 0
    assert "Traceback" not in agent.text()
    assert sorted(f.name for f in folder.iterdir()) == ["1.jpg.part", "1.json.part"]


@pytest.mark.parametrize("command", ["check", "snapshot"])
async def test_what_ctrl_c_cut_off_was_no_success(full_port: int, tmp_path: Path, command: str) -> None:
    url, file = f"http://127.0.0.1:{full_port}/video.cgi", tmp_path / "c.yaml"
    source = f"{{type: mjpeg, url: '{url}', connect_timeout_s: 60}}"
    file.write_text(f"cameras: {{porch: {{source: {source}}}}}\nsinks: [{{type: disk, folder: /}}]\n")
    args = ("check", "-c", str(file)) if command == "check" else ("snapshot", url, "-o", str(tmp_path / "never.jpg"))
    async with running(*args) as process:
        await asyncio.sleep(3)
        assert await process.end(signal.SIGINT, SOON_S) == 1
    assert process.text().split() == ["Aborted!"]


@pytest.mark.parametrize(
    "args",
    [
        ("watch", "http://no.example/video.cgi", "--port", "0"),
        ("run", "--source", "demo", "--to", "ws://:t@no.example"),
        ("run", "--source", "demo", "--to", "ftp://u:p@no.example/x"),
    ],
    ids=lambda args: args[-1],
)
async def test_while_a_name_is_looked_up(tmp_path: Path, args: tuple[str, ...]) -> None:
    if subprocess.run(alone("ip", "link"), capture_output=True).returncode:
        pytest.skip("NO NAMESPACES: look-ups that hang are NOT tested")
    conf, ready = tmp_path / "resolv.conf", tmp_path / "ready"
    conf.write_text("nameserver 127.0.0.1\noptions timeout:20 attempts:1\n")
    script = NAMELESS.format(conf=conf, ready=ready, python=sys.executable, command=shlex.join((*COMMAND, *args)))
    process = await asyncio.create_subprocess_exec(
        *alone("sh", "-c", script), cwd=ROOT, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        while not ready.exists():
            assert process.returncode is None
            await asyncio.sleep(0.05)
        await asyncio.sleep(5)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), SOON_S) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
