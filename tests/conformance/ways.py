"""The other end of every registered sink: a real one each, what arrived there, and a line to it that can be cut."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.frame import Item, ItemType
from agent.media import clip
from agent.media.avi import read_index
from agent.server.app import CameraServer, ServerSettings
from agent.sinks import KINDS, Sink
from tests.sinks.ftpservers import PASSWORD as FTP_PASSWORD
from tests.sinks.ftpservers import USER as FTP_USER
from tests.sinks.ftpservers import pyftpd
from tests.sinks.line import Line
from tests.sinks.webservers import PASSWORD as DAV_PASSWORD
from tests.sinks.webservers import USER as DAV_USER
from tests.sinks.webservers import form_service, nginx_dav, wsgidav


@dataclass
class Way:
    """`settings` make the sink; with `wrong` instead the login is refused; `secret` must never be seen.

    `arrived` gives name → bytes of what is at the other end; a store's names are of items, others' of files.
    """

    kind: str
    settings: dict[str, Any]
    arrived: Callable[[], dict[str, bytes]]
    line: Line | None = None
    wrong: dict[str, Any] | None = None
    secret: str = ""
    store: bool = False

    def sink(self, **changes: Any) -> Sink:
        return KINDS[self.kind].load()(**(self.settings | changes))

    def pictures(self) -> list[bytes]:
        """Every picture of every film or clip that arrived, in the order of names."""
        found: list[bytes] = []
        for name, data in sorted(self.arrived().items(), key=lambda f: (len(f[0]), f[0])):
            if name.endswith(".clip"):
                found += [data[e.start : e.start + e.length] for e in clip.entries(data)]
            elif name.endswith(".avi"):
                found += [data[at : at + n] for at, n in read_index(io.BytesIO(data)).pictures]
        return found


def expected(items: list[Item]) -> list[bytes]:
    """The pictures of these items."""
    clips = [i for i in items if i.type is ItemType.CLIP]
    return [i.payload[e.start : e.start + e.length] for i in clips for e in clip.entries(i.payload)]


def under(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@contextlib.asynccontextmanager
async def _server(kind: str, scheme: str, tmp: Path) -> AsyncIterator[Way]:
    server = CameraServer(ServerSettings(port=0, store=str(tmp / "store")), notes={})
    await server.start()
    try:
        token = await server.issue_token("porch")
        async with Line(server.port) as line:
            yield Way(
                kind,
                {"url": f"{scheme}://127.0.0.1:{line.port}", "token": token},
                lambda: under(tmp / "store/items"),
                line,
                {"token": "canary-" + token[::-1]},
                "canary-" + token[::-1],
                store=True,
            )
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def _put(kind: str, tmp: Path) -> AsyncIterator[Way]:
    with nginx_dav(tmp, full_path=True) as (port, root):
        async with Line(port) as line:
            yield _dav(kind, line, root)


@contextlib.asynccontextmanager
async def _webdav(kind: str, tmp: Path) -> AsyncIterator[Way]:
    with wsgidav(tmp / "root") as port:
        async with Line(port) as line:
            yield _dav(kind, line, tmp / "root")


def _dav(kind: str, line: Line, root: Path) -> Way:
    settings = {"url": f"http://127.0.0.1:{line.port}/", "username": DAV_USER, "password": DAV_PASSWORD}
    wrong = {"password": "canary-wrong"}
    return Way(kind, settings, lambda: under(root), line, wrong, "canary-wrong")


@contextlib.asynccontextmanager
async def _form(kind: str, tmp: Path) -> AsyncIterator[Way]:
    async with form_service() as service, Line(service.port) as line:
        settings = {"url": f"http://{DAV_USER}:{DAV_PASSWORD}@127.0.0.1:{line.port}/upload"}
        wrong = {"url": f"http://{DAV_USER}:canary-wrong@127.0.0.1:{line.port}/upload"}
        yield Way(kind, settings, lambda: dict(service.files), line, wrong, "canary-wrong")


@contextlib.asynccontextmanager
async def _ftp(kind: str, tmp: Path) -> AsyncIterator[Way]:
    (tmp / "home").mkdir()
    with pyftpd(tmp / "home") as server:
        async with Line(server.port) as line:
            settings = {"url": f"ftp://127.0.0.1:{line.port}", "username": FTP_USER, "password": FTP_PASSWORD}
            settings |= {"tls": "none"}
            yield Way(kind, settings, server.files, line, {"password": "canary-wrong"}, "canary-wrong")


@contextlib.asynccontextmanager
async def _disk(kind: str, tmp: Path) -> AsyncIterator[Way]:
    (tmp / "disk").mkdir()
    yield Way(kind, {"folder": str(tmp / "disk")}, lambda: under(tmp / "disk"))


WAYS: dict[str, Callable[[Path], contextlib.AbstractAsyncContextManager[Way]]] = {
    "websocket": lambda tmp: _server("websocket", "ws", tmp),
    "http": lambda tmp: _server("http", "http", tmp),
    "put": lambda tmp: _put("put", tmp),
    "webdav": lambda tmp: _webdav("webdav", tmp),
    "form": lambda tmp: _form("form", tmp),
    "ftp": lambda tmp: _ftp("ftp", tmp),
    "disk": lambda tmp: _disk("disk", tmp),
}
