"""`camera-agent dispatch` as a process: the README's example, reloading, sockets from systemd, explaining."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.dispatch.cases import get
from tests.dispatch.rig import ask, backend, echo, http_backend

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-m", "agent.cli", "dispatch"]


class Program:
    """The running command and what it prints."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.ports: list[int] = []

    async def line(self, *wanted: str) -> str:
        """The next line on stderr that has one of these words."""
        assert self.process.stderr
        async with asyncio.timeout(60):
            while line := (await self.process.stderr.readline()).decode():
                if any(word in line for word in wanted):
                    return line
        raise AssertionError(f"ended without {wanted}")


@contextlib.asynccontextmanager
async def program(
    path: Path, listeners: int = 1, *, first: tuple[str, ...] = (), **more: object
) -> AsyncIterator[Program]:
    """Started and listening; ended by SIGTERM, which must be a clean end."""
    process = await asyncio.create_subprocess_exec(
        *(first or COMMAND), "-c", str(path), stdout=-1, stderr=-1, cwd=ROOT, **more  # type: ignore[arg-type]
    )  # fmt: skip
    it = Program(process)
    try:
        assert process.stdout
        async with asyncio.timeout(60):
            for _ in range(listeners):
                line = (await process.stdout.readline()).decode()
                assert line.startswith("listening on "), line or (await process.stderr.read()).decode()  # type: ignore[union-attr]
                it.ports += [int(p) for p in re.findall(r":(\d+)(?: |$)", line)]
        yield it
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0


async def test_the_readmes_example_works_as_printed(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    example = text.partition("```yaml\n")[2].partition("```")[0]
    assert "/mywebsocket/*" in example
    async with backend(http_backend("chat")) as chat, backend(http_backend("pages")) as pages, backend(echo) as shell:
        for printed, here in ((8000, 0), (9001, chat), (9002, pages), (22, shell)):
            assert f"port: {printed}" in example
            example = example.replace(f"port: {printed}", f"port: {here}")
        path = tmp_path / "dispatch.yaml"
        path.write_text(example)
        async with program(path) as it:
            assert b"pages / 0" in await ask(it.ports[0], get("/"))
            assert b"chat /mywebsocket/x 0" in await ask(it.ports[0], get("/mywebsocket/x"))
            assert await ask(it.ports[0], b"SSH-2.0-x\r\n", end=True) == b"SSH-2.0-x\r\n"
            assert '"service": "pages"' in await it.line("connection ")
        asked = subprocess.run(
            [*COMMAND, "-c", path, "explain", "-"], input=b"SSH-2.0-x\r\n", capture_output=True, cwd=ROOT, check=True
        )
        assert b"goes to 'shell' by rule '3:shell'" in asked.stdout


async def test_a_reload_takes_over_the_file_and_touches_no_connection(tmp_path: Path) -> None:
    path = tmp_path / "dispatch.yaml"
    unix = tmp_path / "port"

    def write(listen: str, to: int) -> None:
        service = f"{{type: relay, host: 127.0.0.1, port: {to}, http: tunnel}}"
        path.write_text(f"listen: {listen}\nservices: {{s: {service}}}\nroutes: [{{to: s}}]\n")

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"second")

    async with backend(echo) as one, backend(say) as two:
        write("[{port: 0}, {port: 0, name: goes}]", one)
        async with program(path, 2) as it:
            reader, writer = await asyncio.open_connection("127.0.0.1", it.ports[0])
            leaving, leaver = await asyncio.open_connection("127.0.0.1", it.ports[1])
            for r, w in ((reader, writer), (leaving, leaver)):
                w.write(b"a")
                assert await r.read(1) == b"a"
            write(f"[{{port: 0}}, {{unix: {unix}}}]", two)
            it.process.send_signal(signal.SIGHUP)
            assert f"listening on {unix}" in await it.line("listening on")
            await it.line("reloaded")
            assert await ask(it.ports[0]) == b"second"
            with pytest.raises(ConnectionError):
                await asyncio.open_connection("127.0.0.1", it.ports[1])
            for r, w in ((reader, writer), (leaving, leaver)):
                w.write(b"b")
                assert await r.read(1) == b"b"
            path.write_text("listen: nonsense\n")
            it.process.send_signal(signal.SIGHUP)
            assert "everything goes on as before" in await it.line("not reloaded")
            assert await ask(it.ports[0]) == b"second"
            with socket.create_server(("127.0.0.1", 0)) as taken:
                write(f"[{{port: {taken.getsockname()[1]}}}]", one)
                it.process.send_signal(signal.SIGHUP)
                await it.line("is taken by another program")
            assert await ask(it.ports[0]) == b"second"
            for w in (writer, leaver):
                w.close()
    assert not unix.exists()


async def test_sockets_from_systemd(tmp_path: Path) -> None:
    path = tmp_path / "dispatch.yaml"
    path.write_text("listen: [{systemd: web}]\nservices: {s: {type: refuse}}\nroutes: [{protocol: http, to: s}]\n")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port, fd = sock.getsockname()[1], sock.fileno()
        words = " ".join(COMMAND)
        shell = f'export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web; exec {words} "$@" 3<&{fd}'
        async with program(path, first=("bash", "-c", shell, "x"), pass_fds=(fd,)) as it:
            assert it.ports == [port]
            assert (await ask(port, get("/"))).startswith(b"HTTP/1.1 404 ")
    ended = subprocess.run([*COMMAND, "-c", path], capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 78 and "no socket named 'web'" in ended.stderr


async def test_counters_for_prometheus_and_what_is_not_served(tmp_path: Path) -> None:
    path = tmp_path / "dispatch.yaml"
    path.write_text(
        "listen: [{port: 0, name: front}]\n"
        "services: {m: {type: metrics}, gone: {type: relay, path: /nowhere/at/all}}\n"
        "routes:\n  - {path: /metrics, client: 127.0.0.0/8, to: m}\n  - {path: /x, to: gone, name: x}\n"
    )
    async with program(path) as it:
        assert (await ask(it.ports[0], get("/x"))).startswith(b"HTTP/1.1 502 ")
        assert (await ask(it.ports[0], get("/y"))).startswith(b"HTTP/1.1 404 ")
        said = await ask(it.ports[0], get("/metrics"))
        assert b'dispatch_connections_total{rule="x",service="gone",end="backend-down"} 1' in said
        assert b'{rule="none",service="",end="refused"} 1' in said


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (
            "listen: [{port: 0}]\nservices: {}\nroutes: [{to: a}]\n",
            78,
            ":3:15: error: routes[0].to: there is no service",
        ),
        (
            "listen: [{host: 192.0.2.1, port: 1}]\nservices: {}\nroutes: []\n",
            75,
            "cannot listen on port 1 on 192.0.2.1",
        ),
        ("listen: [{unix: /nowhere/x}]\nservices: {}\nroutes: []\n", 69, "cannot listen on /nowhere/x"),
    ],
)
def test_what_cannot_start_says_why(tmp_path: Path, text: str, code: int, said: str) -> None:
    path = tmp_path / "dispatch.yaml"
    path.write_text(text)
    ended = subprocess.run([*COMMAND, "-c", path], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (ended.returncode, said in ended.stderr) == (code, True), ended.stderr


def test_explain_without_a_file_names_the_protocol(tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(b"OPTIONS rtsp://cam/1 RTSP/1.0\r\n")
    out = subprocess.run([*COMMAND, "explain", path], capture_output=True, text=True, cwd=ROOT, env=os.environ)
    assert "goes to 'RTSP' by rule 'rtsp'" in out.stdout
