"""A fake network camera: plays footage as MJPEG over HTTP as a D-Link DCS-920 does, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from agent.errors import UsageError
from agent.media.faults import FAULTS, Fault, parse_fault
from agent.media.footage import Footage, Reel
from agent.media.spoil import corrupt, read_stamp, resized_header, stamp

__all__ = ["FAULTS", "Fault", "SimulatedCamera", "parse_fault", "read_stamp"]

log = logging.getLogger(__name__)

STREAMS = frozenset(("/video.cgi", "/video/mjpg.cgi", "/mjpeg.cgi"))
STILLS = frozenset(("/image/jpeg.cgi", "/image.jpg", "/dms"))
MAX_REQUEST_BYTES = 16 * 1024
REQUEST_TIMEOUT_S = 10.0
HUGE = 20000
CANNOT_LISTEN = 73

_PAGE = b"<!DOCTYPE html><html><head><title>DCS-920</title></head><body><h1>DCS-920</h1></body></html>\n"
_ENDLESS = b"\x55" * 65536


@dataclass(frozen=True, slots=True)
class Style:
    """How a family of cameras frames its parts; `shown` is the boundary as the response's header gives it."""

    shown: str
    line: str
    length: str
    kind: str
    dated: bool
    behind: bytes


STYLES = {
    "dcs920": Style("--video boundary--", "--video boundary--", "Content-length", "Content-type", True, b"\r\n\r\n"),
    "plain": Style("frame", "--frame", "Content-Length", "Content-Type", False, b"\r\n"),
}


class PlayHead:
    """Where the film is: moves on at its pace from the first look on, the same for everybody who looks."""

    def __init__(self, footage: Footage, fps: float, loop: bool, stamped: bool) -> None:
        self._footage = footage
        self._period_s = 1.0 / fps
        self._loop = loop
        self._stamped = stamped
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.number = -1
        self.picture = b""
        self.ended = False

    async def after(self, number: int) -> bool:
        """Wait for a picture with a higher number; False when the film has ended before."""
        if self._task is None:
            self._task = asyncio.create_task(self._play(), name="simulated camera")
        while self.number <= number and not self.ended:
            await self._moved.wait()
        return self.number > number

    async def _play(self) -> None:
        clock = asyncio.get_running_loop().time
        due, reel, played = clock(), Reel(self._footage), False
        try:
            while True:
                picture = await reel.next()
                if picture is None:
                    if not (self._loop and played):
                        break
                    reel.rewind()
                    played = False
                    continue
                await asyncio.sleep(due - clock())
                due = max(due + self._period_s, clock() - 1.0)
                played = True
                self._show(picture)
            # The last picture, too, stands for its time.
            await asyncio.sleep(due - clock())
        except (OSError, ValueError) as e:
            log.warning("%s: %s", self._footage.path, e)
        finally:
            await reel.close()
        self.ended = True
        self._wake()

    def _show(self, picture: bytes) -> None:
        self.picture = stamp(picture, time.time_ns()) if self._stamped else picture
        self.number += 1
        self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class SimulatedCamera:
    """`start` it, point a client at `/video.cgi` on `port`, `close` it.

    `faults` are texts as `parse_fault` takes, or Faults. `connections` counts the connections accepted,
    `clients` those open now, `frames_sent` the pictures sent whole or not to all of them. A client that
    does not keep up skips pictures; one picture a client is the most that waits here.
    """

    def __init__(
        self,
        footage: Footage,
        *,
        fps: float | None = None,
        username: str | None = None,
        password: str = "",
        faults: Sequence[str | Fault] = (),
        style: str = "dcs920",
        loop: bool = True,
        stamp: bool = False,
    ) -> None:
        if style not in STYLES:
            raise UsageError(f"no such style: '{style}' (known: {', '.join(STYLES)})")
        self._style = STYLES[style]
        self._faults = [parse_fault(f) if isinstance(f, str) else f for f in faults]
        self._head = PlayHead(footage, fps or footage.fps, loop, stamp)
        self._login = None if username is None else f"{username}:{password}".encode()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0
        self.frames_sent = 0

    @property
    def clients(self) -> int:
        return len(self._tasks)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; returns the port. Raises UsageError (exit 73) when it is taken."""
        try:
            self._server = await asyncio.start_server(self._client, host, port, limit=MAX_REQUEST_BYTES)
        except OSError as e:
            raise UsageError(f"{host}:{port}: cannot listen: {(e.strerror or str(e)).lower()}", CANNOT_LISTEN) from None
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
                await self._answer(request, _Client(reader, writer, self._faults))
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, request: bytes, client: _Client) -> None:
        lines = request.decode("latin-1").split("\r\n")
        method, _, rest = lines[0].partition(" ")
        path = urlsplit(rest.partition(" ")[0]).path
        now = max(self._head.number, 0)
        if method != "GET":
            await client.respond("405 Method Not Allowed", "text/plain", b"GET only\n")
        elif client.fault("401", now) or not self._admits(lines[1:]):
            await client.respond("401 Unauthorized", "text/html", _PAGE, 'WWW-Authenticate: Basic realm="DCS-920"\r\n')
        elif client.fault("html", now):
            await client.respond("200 OK", "text/html", _PAGE)
        elif path in STREAMS:
            await self._stream(client)
        elif path in STILLS:
            await self._head.after(-1)
            await client.respond("200 OK", "image/jpeg", self._spoiled(client, self._head.number, self._head.picture))
        else:
            await client.respond("404 Not Found", "text/html", _PAGE)

    def _admits(self, fields: list[str]) -> bool:
        if self._login is None:
            return True
        wanted = "basic " + base64.b64encode(self._login).decode()
        for line in fields:
            name, _, value = line.partition(":")
            scheme, _, token = value.strip().partition(" ")
            if name.strip().lower() == "authorization":
                return f"{scheme.lower()} {token.strip()}" == wanted
        return False

    async def _stream(self, client: _Client) -> None:
        kind = f"multipart/x-mixed-replace;boundary={self._style.shown}"
        await client.send(_response("200 OK", kind, "Pragma: no-cache\r\nCache-Control: no-cache\r\n"), 0)
        number = max(self._head.number - 1, -1)
        while not client.gone and await self._head.after(number):
            number = self._head.number
            await self._part(client, number, self._head.picture)
            self.frames_sent += 1

    def _spoiled(self, client: _Client, number: int, picture: bytes) -> bytes:
        if client.fault("corrupt", number):
            picture = corrupt(picture, number)
        if client.fault("huge-header", number):
            picture = resized_header(picture, HUGE, HUGE)
        return picture

    async def _part(self, client: _Client, number: int, picture: bytes) -> None:
        if (stall := client.fault("stall", number)) and not await client.stays(stall.value):
            return
        picture = self._spoiled(client, number, picture)
        length: int | None = len(picture)
        if wrong := client.fault("wrong-length", number):
            length = max(0, len(picture) - int(1000 if wrong.value is None else wrong.value))
        if client.fault("empty-part", number):
            picture, length = b"", 0
        if client.fault("no-length", number) or client.fault("endless-part", number):
            length = None
        if client.fault("truncate", number) or client.fault("drop", number):
            picture = picture[: len(picture) // 2]
        elif client.fault("endless-part", number):
            picture = picture[:-2]
        await client.send(self._part_head(length) + picture, number)
        if client.fault("endless-part", number):
            while True:
                await client.send(_ENDLESS, number)
        if client.fault("drop", number):
            raise ConnectionAbortedError
        await client.send(self._style.behind, number)

    def _part_head(self, length: int | None) -> bytes:
        s = self._style
        lines = [s.line]
        if length is not None:
            lines.append(f"{s.length}: {length}")
        if s.dated:
            lines.append(time.strftime("Date: %m-%d-%Y %I:%M:%S %p IO_00000000_PT_005_000"))
        return "\r\n".join([*lines, f"{s.kind}: image/jpeg", "", ""]).encode()


class _Client:
    """One connection: sends as slowly as it is told, and knows which faults apply."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, faults: list[Fault]) -> None:
        self._reader = reader
        self._writer = writer
        self._faults = faults
        writer.transport.set_write_buffer_limits(0)

    @property
    def gone(self) -> bool:
        return self._writer.is_closing() or self._reader.at_eof()

    def fault(self, name: str, number: int) -> Fault | None:
        return next((f for f in self._faults if f.name == name and f.at(number)), None)

    async def stays(self, seconds: float | None) -> bool:
        """Do nothing for so long (None: for ever); False when the other side leaves meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                while await self._reader.read(1024):
                    pass
        except TimeoutError:
            return True
        return False

    async def send(self, data: bytes, number: int) -> None:
        slow = self.fault("slow", number)
        if slow is None or slow.value is None:
            self._writer.write(data)
            await self._writer.drain()
            return
        step = max(1, int(slow.value / 20))
        for at in range(0, len(data), step):
            self._writer.write(data[at : at + step])
            await self._writer.drain()
            await asyncio.sleep(min(step, len(data) - at) / slow.value)

    async def respond(self, status: str, kind: str, body: bytes, fields: str = "") -> None:
        await self.send(_response(status, kind, f"{fields}Content-Length: {len(body)}\r\n") + body, 0)


def _response(status: str, kind: str, fields: str) -> bytes:
    head = (
        f"HTTP/1.0 {status}\r\nServer: dcs-920-simulated\r\nConnection: close\r\nContent-Type: {kind}\r\n{fields}\r\n"
    )
    return head.encode()
