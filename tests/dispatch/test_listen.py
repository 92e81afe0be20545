"""Listening sockets: addresses, UNIX paths, what systemd hands over, ports that are taken."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent.dispatch import listen
from agent.dispatch.dispatcher import Dispatcher
from agent.dispatch.matchers import Http
from agent.dispatch.peek import Route
from agent.dispatch.services import Refuse
from agent.errors import ConfigError, PermanentError
from tests.dispatch.rig import QUICK, ask


def unix_ask(path: Path, data: bytes) -> bytes:
    """Blocking: for a thread."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(path))
        for i in range(len(data)):
            sock.send(data[i : i + 1])
        said = b""
        while piece := sock.recv(1000):
            said += piece
        return said


async def test_a_unix_listener_with_a_stale_file_and_a_mode(tmp_path: Path) -> None:
    path = tmp_path / "port"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    records = []
    dispatcher = Dispatcher([Route("w", "w", (Http(),))], {"w": Refuse(404)}, limits=QUICK, on_record=records.append)
    dispatcher.start_unix(path, 0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    said = await asyncio.get_running_loop().run_in_executor(None, unix_ask, path, b"GET / HTTP/1.0\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 404") and records[0].peer == "unix"
    with pytest.raises(PermanentError, match="port"):
        listen.unix(path)
    await dispatcher.close()
    assert not path.exists()


def test_a_file_in_the_way_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(PermanentError, match="precious"):
        listen.unix(path)
    assert path.read_text() == "data"


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(PermanentError, match=f"port {port} on 127.0.0.1 is taken"):
            listen.tcp("127.0.0.1", port)


def test_all_addresses_share_the_port_that_is_found() -> None:
    sockets = listen.tcp("", 0)
    assert len({s.getsockname()[1] for s in sockets}) == 1
    for sock in sockets:
        sock.close()


def test_sockets_from_systemd_by_name() -> None:
    """A child is started as systemd would: descriptors from 3 on, and their names."""
    code = """
import json, os
os.environ["LISTEN_PID"] = str(os.getpid())
from agent.dispatch import listen
found = listen.inherited(os.environ)
print(json.dumps({n: [s.getsockname()[1] for s in socks] for n, socks in found.items()}))
"""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        # Both go to high numbers first, so that dup2 to 3 and 4 cannot overwrite one that is still needed.
        shell = f"exec {sys.executable} -c '{code}' 3<&{one.fileno()} 4<&{two.fileno()}"
        environ = os.environ | {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:ftp"}
        fds = (one.fileno(), two.fileno())
        out = subprocess.run(["bash", "-c", shell], env=environ, pass_fds=fds, capture_output=True, text=True)
        assert out.returncode == 0, out.stderr
        assert out.stdout.strip() == f'{{"web": [{one.getsockname()[1]}], "ftp": [{two.getsockname()[1]}]}}'


def test_other_peoples_sockets_are_left_alone() -> None:
    assert listen.inherited({"LISTEN_PID": "1", "LISTEN_FDS": "2"}) == {}
    with pytest.raises(ConfigError, match="LISTEN_FDS"):
        listen.inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x"})


async def test_several_listeners_and_their_names() -> None:
    records = []
    dispatcher = Dispatcher([Route("w", "w", (Http(),))], {"w": Refuse(404)}, limits=QUICK, on_record=records.append)
    ports = [await dispatcher.start("127.0.0.1", 0, name) for name in ("one", "two")]
    for port in ports:
        await ask(port, b"GET / HTTP/1.0\r\n\r\n")
    await dispatcher.close()
    assert [r.listener for r in records] == ["one", "two"]
