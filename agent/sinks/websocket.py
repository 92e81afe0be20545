"""The WebSocket uplink `camera-agent.v1` (docs/protocol.md): items for certain, live frames while somebody looks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp

from agent import __version__
from agent.errors import PermanentError, TransientError
from agent.media import wire
from agent.sinks import Feed

CONNECT_S = 10.0
SILENCE_S = 45.0
PING_S = 20.0
CLOSE_S = 2.0
WELCOME_S = 10.0

_REFUSALS = {
    401: "refuses the token (401)",
    403: "refuses the token (403)",
    404: "has no camera of this name (404)",
    410: "says that this camera was deleted (410)",
    426: "does not speak camera-agent.v1 (426)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketSink:
    """Streams to a camera server. `url` is `ws://host:port` or `wss://…`; `token` as `virtual add` printed it."""

    url: str
    token: str = field(default="", repr=False)
    token_file: str | None = None

    @property
    def label(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")

    async def run(self, feed: Feed) -> None:
        parts = urlsplit(self.url)
        base = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
        token = self._token()
        async with aiohttp.ClientSession() as http:
            ws = await self._connect(http, f"{base}/v1/cam/{quote(feed.camera)}/stream", token)
            try:
                await _Session(ws, feed, self.label).run()
            finally:
                # A peer that never reads keeps close() waiting: bound it.
                try:
                    async with asyncio.timeout(CLOSE_S):
                        await ws.close()
                except (TimeoutError, aiohttp.ClientError, ConnectionError):
                    pass

    def _token(self) -> str:
        if self.token_file:
            try:
                return Path(self.token_file).read_text().strip()
            except OSError as e:
                raise PermanentError(f"{self.label}: token_file {self.token_file}: {e.strerror}") from None
        return self.token or urlsplit(self.url).password or ""

    async def _connect(self, http: aiohttp.ClientSession, url: str, token: str) -> aiohttp.ClientWebSocketResponse:
        try:
            async with asyncio.timeout(CONNECT_S):
                return await http.ws_connect(
                    url,
                    protocols=(wire.SUBPROTOCOL,),
                    headers={"Authorization": f"Bearer {token}"},
                    max_msg_size=wire.MAX_MESSAGE_BYTES,
                    heartbeat=PING_S,
                    compress=0,
                )
        except aiohttp.WSServerHandshakeError as e:
            if e.status in _REFUSALS:
                raise PermanentError(f"{self.label}: the server {_REFUSALS[e.status]}") from None
            raise TransientError(f"{self.label}: the server answers {e.status}") from None
        except aiohttp.InvalidURL:
            raise PermanentError(f"{self.label}: not a WebSocket URL") from None
        except TimeoutError:
            raise TransientError(f"{self.label}: no answer within {CONNECT_S:g} s") from None
        except aiohttp.ClientConnectorCertificateError as e:
            raise PermanentError(f"{self.label}: {e.certificate_error}") from None
        except (aiohttp.ClientError, OSError) as e:
            raise TransientError(f"{self.label}: {_plain(e)}") from None


class _Session:
    """One connection: a reader, a sender of items and a sender of live frames."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse, feed: Feed, label: str) -> None:
        self._ws = ws
        self._feed = feed
        self._label = label
        self._window = 4 * 1024 * 1024
        self._flying: dict[int, int] = {}
        self._have: list[tuple[int, int]] = []
        self._room = asyncio.Event()
        self._credits = 0
        self._credit = asyncio.Event()
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        await self._hello()
        self._feed.up()
        tasks = [asyncio.create_task(job) for job in self._jobs()]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except (aiohttp.ClientError, ConnectionError, OSError) as e:
            raise TransientError(f"{self._label}: {_plain(e)}") from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _jobs(self) -> tuple[Coroutine[Any, Any, None], ...]:
        return self._read(), self._send_items(), self._send_live()

    async def _hello(self) -> None:
        outbox = self._feed.outbox
        hello = {"t": "hello", "agent": __version__, "spool": outbox.spool, "next": outbox.next_seq}
        await self._ws.send_str(json.dumps(hello))
        try:
            while True:
                message = await self._ws.receive(WELCOME_S)
                body = self._control(message)
                if body is not None and body.get("t") == "welcome":
                    break
        except TimeoutError:
            raise TransientError(f"{self._label}: no welcome within {WELCOME_S:g} s") from None
        window = body.get("window")
        if isinstance(window, int) and window > 0:
            self._window = window
        self._acked(body)
        for first, last in outbox.dropped():
            dropped = {"t": "dropped", "spool": outbox.spool, "first": first, "last": last, "why": "quota"}
            await self._ws.send_str(json.dumps(dropped))

    def _control(self, message: aiohttp.WSMessage) -> dict[str, Any] | None:
        """A control message as a dict, None for what does not matter; raises when the session is over."""
        if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING):
            code = self._ws.close_code
            if code == 4401:
                raise PermanentError(f"{self._label}: the server refuses the token (4401)")
            if code == 4410:
                raise PermanentError(f"{self._label}: the server says that this camera was deleted (4410)")
            raise TransientError(f"{self._label}: the server ended the session ({code})")
        if message.type is aiohttp.WSMsgType.ERROR:
            raise TransientError(f"{self._label}: {_plain(self._ws.exception())}")
        if message.type is not aiohttp.WSMsgType.TEXT:
            return None
        try:
            body = json.loads(message.data)
        except (ValueError, RecursionError):
            raise TransientError(f"{self._label}: the server sent text that is not JSON") from None
        return body if isinstance(body, dict) else None

    async def _read(self) -> None:
        while True:
            try:
                message = await self._ws.receive(SILENCE_S)
            except TimeoutError:
                raise TransientError(f"{self._label}: silent for {SILENCE_S:g} s") from None
            body = self._control(message)
            if body is None:
                continue
            kind = body.get("t")
            if kind == "ack":
                self._acked(body)
            elif kind == "nack":
                self._refused(body)
            elif kind == "live":
                n = body.get("n")
                self._credits = n if isinstance(n, int) and 0 <= n <= 64 else 0
                self._credit.set()

    def _acked(self, body: dict[str, Any]) -> None:
        ack = body.get("ack")
        have = body.get("have")
        if not isinstance(ack, int):
            return
        ranges = [
            (r[0], r[1])
            for r in (have if isinstance(have, list) else [])
            if isinstance(r, list) and len(r) == 2 and all(isinstance(v, int) for v in r)
        ]
        self._feed.outbox.ack(ack, ranges)
        for seq in [s for s in self._flying if s <= ack or any(a <= s <= b for a, b in ranges)]:
            del self._flying[seq]
        self._room.set()

    def _refused(self, body: dict[str, Any]) -> None:
        seq, code = body.get("seq"), str(body.get("code", ""))[:40]
        if code in ("full", "digest"):
            raise TransientError(f"{self._label}: the server did not take item {seq} ({code})")
        if isinstance(seq, int):
            self._flying.pop(seq, None)
            self._feed.outbox.refuse(seq)
            self._room.set()

    async def _send_items(self) -> None:
        sent = 0
        while True:
            item = await self._feed.outbox.after(sent)
            sent = item.seq
            while self._flying and sum(self._flying.values()) + len(item.payload) > self._window:
                self._room.clear()
                await self._room.wait()
            self._flying[item.seq] = len(item.payload)
            for message in wire.pack_item(item):
                await self._ws.send_bytes(message)

    async def _send_live(self) -> None:
        while True:
            while self._credits <= 0:
                self._credit.clear()
                await self._credit.wait()
            with self._feed.live.subscribe(1) as frames:
                while self._credits > 0:
                    frame = await frames.get()
                    if self._credits <= 0:
                        break
                    self._credits -= 1
                    await self._ws.send_bytes(wire.pack_live(frame))
                    while self._credits <= 0:
                        # Stay subscribed: with the next credit the newest frame is already here.
                        self._credit.clear()
                        try:
                            async with asyncio.timeout(2.0):
                                await self._credit.wait()
                        except TimeoutError:
                            break


def _plain(e: BaseException | None) -> str:
    """An error in a few words: the system's own text without the exception's class."""
    os_error = getattr(e, "os_error", None)
    if isinstance(os_error, OSError) and os_error.strerror:
        return os_error.strerror
    if isinstance(e, OSError) and e.strerror:
        return e.strerror
    return str(e) or type(e).__name__
