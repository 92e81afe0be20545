"""A fake network camera: plays footage as MJPEG over HTTP as a D-Link DCS-920 does, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from agent.errors import UsageError
from agent.exits import CANNOT_WRITE, PERMISSION, TRY_LATER
from agent.media import spoil
from agent.media.faults import Fault, parse_fault
from agent.media.footage import Footage
from agent.simulate.client import Client
from agent.simulate.login import Door
from agent.simulate.playhead import PlayHead
from agent.simulate.styles import STYLES

STREAMS = frozenset(("/video.cgi", "/video/mjpg.cgi", "/mjpeg.cgi"))
STILLS = frozenset(("/image/jpeg.cgi", "/image.jpg", "/dms"))
MAX_REQUEST_BYTES = 16 * 1024
REQUEST_TIMEOUT_S = 10.0
HUGE = 20000

_PAGE = b"<!DOCTYPE html><html><head><title>DCS-920</title></head><body><h1>DCS-920</h1></body></html>\n"
_ENDLESS = b"\x55" * 65536
_SPOILERS: dict[str, Callable[[bytes], bytes]] = {
    "no-tables": spoil.without_tables,
    "thumbnail": spoil.with_thumbnail,
    "odd-segments": spoil.with_odd_segments,
    "huge-header": lambda picture: spoil.resized_header(picture, HUGE, HUGE),
}


class SimulatedCamera:
    """`start` it, point a client at `/video.cgi` on `port`, `close` it.

    `faults` are texts as `parse_fault` takes, or Faults; `style` is one of STYLES, `login` one of LOGINS.
    `connections` counts the connections accepted, `clients` those open now, `frames_sent` the pictures sent whole
    or not to all of them, `refused` the wrong logins. A client that does not keep up skips pictures; `keep`
    pictures are the most that wait for it.
    """

    def __init__(
        self,
        footage: Footage,
        *,
        fps: float | None = None,
        username: str | None = None,
        password: str = "",
        login: str = "basic",
        nonce_uses: int = 1 << 30,
        faults: Sequence[str | Fault] = (),
        style: str = "dcs920",
        loop: bool = True,
        stamp: bool = False,
        keep: int = 1,
        streams: Collection[str] = STREAMS,
        stills: Collection[str] = STILLS,
    ) -> None:
        if style not in STYLES:
            raise UsageError(f"no such style: '{style}' (known: {', '.join(STYLES)})")
        self._style = STYLES[style]
        self._faults = [parse_fault(f) if isinstance(f, str) else f for f in faults]
        self._head = PlayHead(footage, fps or footage.fps, loop, stamp, keep)
        self._door = None if username is None else Door(username, password, login, nonce_uses)
        self._streams, self._stills = streams, stills
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0
        self.frames_sent = 0

    @property
    def clients(self) -> int:
        return len(self._tasks)

    @property
    def refused(self) -> int:
        return self._door.refused if self._door else 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; returns the port. Raises UsageError: the port is taken (75) or not permitted (77)."""
        try:
            self._server = await asyncio.start_server(self._client, host, port, limit=MAX_REQUEST_BYTES)
        except OSError as e:
            why = os.strerror(e.errno) if e.errno and e.errno > 0 else str(e)  # asyncio's own text repeats the address
            code = {errno.EADDRINUSE: TRY_LATER, errno.EACCES: PERMISSION}.get(e.errno or 0, CANNOT_WRITE)
            raise UsageError(f"{host}:{port}: cannot listen: {why.lower()}", code) from None
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self.port

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, self._head.close(), return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    request = await reader.readuntil(b"\r\n\r\n")
                await self._answer(request, Client(reader, writer, self._faults))
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, request: bytes, client: Client) -> None:
        lines = request.decode("latin-1").split("\r\n")
        method, _, rest = lines[0].partition(" ")
        target = rest.partition(" ")[0]
        now = max(self._head.number, 0)
        if method != "GET":
            await client.send(_response("405 Method Not Allowed", "text/plain", b"GET only\n"), 0)
        elif client.fault("401", now) or not self._admits(target, lines[1:]):
            challenge = self._door.challenge() if self._door else 'Basic realm="DCS-920"'
            await client.send(
                _response("401 Unauthorized", "text/html", _PAGE, f"WWW-Authenticate: {challenge}\r\n"), 0
            )
        elif client.fault("html", now):
            await client.send(_response("200 OK", "text/html", _PAGE), 0)
        elif where := self._elsewhere(client, target):
            await client.send(_response("302 Found", "text/html", b"", f"Location: {where}\r\n"), 0)
        else:
            await self._show(client, urlsplit(target).path)

    def _elsewhere(self, client: Client, target: str) -> str:
        if client.fault("redirect-away", 0):
            return "http://192.0.2.1" + target
        if client.fault("redirect", 0) and not target.startswith("/moved"):
            return "/moved" + target
        return ""

    async def _show(self, client: Client, path: str) -> None:
        path = path.removeprefix("/moved")
        if path not in self._streams and path not in self._stills:
            await client.send(_response("404 Not Found", "text/html", _PAGE), 0)
        elif (path in self._streams) != bool(client.fault("swapped", 0)):
            await self._stream(client)
        else:
            await self._head.after(-1)
            picture = self._spoiled(client, self._head.number, self._head.picture)
            await client.send(_response("200 OK", "image/jpeg", picture), 0)

    def _admits(self, target: str, lines: list[str]) -> bool:
        if self._door is None:
            return True
        fields = (line.partition(":") for line in lines)
        return self._door.admits(
            "GET", target, next((v for name, _, v in fields if name.strip().lower() == "authorization"), "")
        )

    async def _stream(self, client: Client) -> None:
        await client.send(self._style.head(), 0)
        number, is_first = max(self._head.number - 1, -1), True
        while not client.gone and await self._head.after(number):
            number, picture = self._head.next(number)
            await self._part(client, number, picture, is_first)
            is_first = False
            self.frames_sent += 1
        await client.flush()

    def _spoiled(self, client: Client, number: int, picture: bytes) -> bytes:
        if client.fault("corrupt", number):
            picture = spoil.corrupt(picture, number)
        for name, change in _SPOILERS.items():
            if client.fault(name, number):
                picture = change(picture)
        if not client.fault("freeze", number):
            client.last = picture
        return client.last or picture

    async def _part(self, client: Client, number: int, picture: bytes, is_first: bool) -> None:
        if (stall := client.fault("stall", number)) and not await client.stays(stall.value):
            return
        picture = self._spoiled(client, number, picture)
        length: int | None = len(picture) + len(self._style.pad)
        if wrong := client.fault("wrong-length", number):
            length = max(0, len(picture) - int(1000 if wrong.value is None else wrong.value))
        if client.fault("empty-part", number):
            picture, length = b"", 0
        if client.fault("no-length", number) or client.fault("endless-part", number):
            length = None
        if client.fault("truncate", number) or client.fault("drop", number):
            picture = picture[: len(picture) // 2]
        await self._send(client, number, self._style.part_head(length, is_first), picture)

    async def _send(self, client: Client, number: int, head: bytes, picture: bytes) -> None:
        if client.fault("endless-head", number):
            await self._for_ever(client, number, head[:-2], b"X-More: of the same\r\n" * 1000)
        if client.fault("endless-part", number):
            await self._for_ever(client, number, head + picture[:-2], _ENDLESS)
        if client.fault("drop", number):
            await client.send(head + picture, number)
            raise ConnectionAbortedError
        await client.send_part(head + picture + self._style.pad + self._style.behind, number)

    async def _for_ever(self, client: Client, number: int, first: bytes, again: bytes) -> None:
        await client.send(first, number)
        while True:
            await client.send(again, number)


def _response(status: str, kind: str, body: bytes, fields: str = "") -> bytes:
    head = f"HTTP/1.0 {status}\r\nServer: dcs-920-simulated\r\nConnection: close\r\nContent-Type: {kind}\r\n"
    return f"{head}{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body
