"""The way in for cameras that upload by FTP: an ingest-only server (RFC 959, 2228, 2428, 3659, 4217).

`FtpIngest.protocol` is an asyncio protocol factory for control connections, whichever listener accepted them.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from agent.clock import Clock
from agent.errors import UsageError
from agent.server.cameras import Camera, Cameras
from agent.server.ingest.desk import Desk
from agent.server.ingest.ftpdata import Passive, Waiting, plain
from agent.server.ingest.ftpnames import Shelf
from agent.server.ingest.ftpverbs import Commands, Quit, Work
from agent.server.ingest.later import Later
from agent.server.ingest.presence import Presence
from agent.server.tls import Tls
from agent.server.web.auth import Throttle

log = logging.getLogger(__name__)

MAX_LINE = 4096
ROOM = 1024
MAX_LINES = 64
IDLE_S = 120.0
CLOSE_S = 0.5
SESSIONS = 500
SESSIONS_OF_ADDRESS = 50
HTTP = re.compile(rb"(?:GET|POST|HEAD|PUT|OPTIONS|CONNECT|DELETE|PATCH|TRACE) ")
TELNET = re.compile(rb"\xff[\xf0-\xff]")  # interrupt and synch, sent before ABOR


class FtpIngest:
    """All FTP sessions. `ports`: the range for passive data; `address`: what PASV says instead of our own.

    `shared`: makes passive data come in at a port that others use, too; given the client's address.
    """

    def __init__(
        self,
        cameras: Cameras,
        desk: Desk,
        presence: Presence,
        clock: Clock,
        *,
        tls: Tls | None = None,
        ports: tuple[int, int] = (0, 0),
        address: str | None = None,
        shared: Callable[[str], Waiting] | None = None,
    ) -> None:
        self.cameras = cameras
        self.desk = desk
        self.presence = presence
        self.clock = clock
        self.tls = tls
        self.ports = ports
        self.address = address
        self._shared = shared
        self.throttle = Throttle(clock)
        self.uploads: Counter[str] = Counter()
        self._shelves: dict[str, Shelf] = {}
        self._sessions: set[FtpControl] = set()
        self._addresses: Counter[str] = Counter()
        self._server: asyncio.Server | None = None

    def protocol(self) -> FtpControl:
        """A new control connection's protocol."""
        return FtpControl(self)

    async def listen(self, host: str, port: int) -> int:
        """Listen on a port of its own; returns which. Raises UsageError (75)."""
        if self._server is not None:
            self._server.close()
        try:
            self._server = await asyncio.get_running_loop().create_server(self.protocol, host, port)
        except OSError as e:
            raise UsageError(f"cannot listen for FTP on {host} port {port}: {e.strerror or e}", 75) from None
        return int(self._server.sockets[0].getsockname()[1])

    def passive(self, host: str, peer: str) -> Waiting:
        """Expect a data connection. Raises OSError when there is no room for one."""
        return self._shared(peer) if self._shared else Passive(host, peer, self.ports)

    def shelf(self, camera: Camera) -> Shelf:
        if (shelf := self._shelves.get(camera.name)) is None:
            shelf = self._shelves[camera.name] = Shelf(self.desk.room.share(camera))
        return shelf

    def forget(self, camera: str) -> None:
        """The camera is deleted, with the names that it gave."""
        if (shelf := self._shelves.pop(camera, None)) is not None:
            shelf.forget_cut()

    def came(self, session: FtpControl) -> bool:
        """False: there are too many."""
        self._sessions.add(session)
        self._addresses[session.peer] += 1
        return len(self._sessions) <= SESSIONS and self._addresses[session.peer] <= SESSIONS_OF_ADDRESS

    def went(self, session: FtpControl) -> None:
        if session in self._sessions:
            self._sessions.discard(session)
            self._addresses[session.peer] -= 1
            if not self._addresses[session.peer]:
                del self._addresses[session.peer]

    async def close(self) -> None:
        """End the listener and the sessions; an upload under way gets a moment."""
        if self._server is not None:
            self._server.close()
        tasks = [s.end(421, "The server ends.") for s in list(self._sessions)]
        running = [t for t in tasks if t is not None and not t.done()]
        if running:
            await asyncio.wait(running, timeout=CLOSE_S)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class FtpControl(asyncio.BufferedProtocol):
    """One control connection: bytes to lines, lines to commands one after the other, TLS in between.

    It brings the room for what comes: asyncio's own, of 256 KiB for each line, is mapped and unmapped each time.
    """

    def __init__(self, ingest: FtpIngest) -> None:
        self._ingest = ingest
        self._room = bytearray(ROOM)
        self._buffer = b""
        self._lines: deque[bytes] = deque()
        self._commands = Commands(ingest, self)
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._held = False
        self._eof = False
        self._first = True
        self._silent = Later(self._look)
        self.stop: Callable[[], None] | None = None  # ends the transfer that is going on
        self.secure = False
        self.peer = self.host = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.peer = plain(str((transport.get_extra_info("peername") or ("",))[0]))
        self.host = str((transport.get_extra_info("sockname") or ("",))[0])
        self.secure = transport.get_extra_info("ssl_object") is not None  # TLS from the start
        if not self._ingest.came(self):
            self.reply(421, "Too many sessions.")
            self._drop()
            return
        self._silent.put_off(IDLE_S)
        self.reply(220, "camera-agent: uploads only.")

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._room[:nbytes])
        if self._first and HTTP.match(data):
            self._drop()
            return
        self._first = False
        self._silent.put_off(IDLE_S)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            line = TELNET.sub(b"", line).rstrip(b"\r")
            if line[:4].upper() == b"ABOR":
                self._stop()
            self._lines.append(line)
        if len(self._buffer) > MAX_LINE or len(self._lines) > MAX_LINES:
            self.reply(500, "The line is too long.")
            self._drop()
        self._go()

    def eof_received(self) -> bool:
        """What was said before is still done (`nc` closes right after its last line)."""
        self._eof = True
        self._go()
        return not self.secure

    def connection_lost(self, exc: Exception | None) -> None:
        self._eof = True
        self._transport = None
        self._silent.cancel()
        self._ingest.went(self)
        self._go()

    def reply(self, code: int, *texts: str) -> None:
        """One line, or several (RFC 959, 4.2)."""
        if self._transport is None or self._transport.is_closing():
            return
        before = "".join(f"{code}-{t}\r\n" for t in texts[:-1]) if len(texts) > 1 else ""
        self._transport.write(f"{before}{code} {texts[-1]}\r\n".encode("utf-8", "replace"))

    def end(self, code: int, text: str) -> asyncio.Task[None] | None:
        """Say why and go; what is being stored is."""
        self.reply(code, text)
        self._drop()
        return self._task

    def _drop(self) -> None:
        self._lines.clear()
        self._eof = True
        if self._transport is not None:
            self._transport.close()
        self._stop()

    def _stop(self) -> None:
        stop, self.stop, self._held = self.stop, None, False
        if stop is not None:
            stop()

    def _look(self) -> None:
        if self._task is not None or self._held:
            self._silent.put_off(IDLE_S)  # something goes on
        else:
            self.reply(421, "Silent for too long.")
            self._drop()

    def hold(self, stop: Callable[[], None]) -> None:
        """A command goes on in callbacks of the loop, and the next one waits for it: until `go_on`, or `stop`."""
        self._held, self.stop = True, stop

    def go_on(self, work: Work) -> None:
        """Do what is left of a command in a task, and the next one after it."""
        self._held, self.stop = False, None
        self._task = asyncio.get_running_loop().create_task(self._wait(work))

    def _go(self) -> None:
        """Do what was said, one after the other."""
        while self._lines and self._task is None and not self._held:
            try:
                if (work := self._commands.run(self._lines.popleft())) is not None:
                    self.go_on(work)
            except Exception as e:
                self._failed(e)
        if self._eof and self._task is None and not self._held:
            self._commands.close()
            if self._transport is not None:
                self._transport.close()

    async def _wait(self, work: Work) -> None:
        try:
            await work
        except Exception as e:
            self._failed(e)
        finally:
            self._task = None
            if not self._eof:
                self._silent.put_off(IDLE_S)
            self._go()

    def _failed(self, e: Exception) -> None:
        """What a command raises ends the session."""
        if not isinstance(e, Quit | ConnectionError):
            log.error("FTP session from %s", self.peer, exc_info=e)
        self._drop()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Answer AUTH TLS and change over. What was sent in clear behind the command is thrown away."""
        transport = self._transport
        if transport is None:
            return
        transport.pause_reading()  # before the answer: the client's hello belongs to TLS
        self._buffer = b""
        self._lines.clear()
        self.reply(234, "Go on in TLS.")
        loop: Any = asyncio.get_running_loop()
        try:
            self._transport = await loop.start_tls(
                transport, self, context, server_side=True, ssl_handshake_timeout=10.0
            )
        except OSError:
            transport.abort()
            raise ConnectionError("TLS failed") from None
        self.secure = True
        if self._transport is None:
            raise ConnectionError("gone in the handshake")
