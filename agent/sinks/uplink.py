"""One connection of the WebSocket uplink, the agent's end: reads, sends items and live frames, runs commands."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import random
import socket
import struct
import termios
from collections.abc import Coroutine
from typing import Any

import aiohttp
from aiohttp import WSMsgType

from agent import __version__
from agent.errors import GoneError, PermanentError, TransientError
from agent.media import wire
from agent.sinks import Feed, told
from agent.sinks.pace import Pace

log = logging.getLogger(__name__)

WELCOME_S = 10.0
SILENCE_S = 45.0
STUCK_S = 8.0
LOOK_S = 2.0  # each waking costs as much as receiving a picture
PING_S = 20.0
WINDOW_BYTES = 4 * 1024 * 1024
RESTARTS = (1001, 1012)
REPLACED_S = 5.0


class Session:
    """From the hello to the end of the connection."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse, feed: Feed, label: str) -> None:
        self._ws = ws
        self._feed = feed
        self._label = label
        self._window = WINDOW_BYTES
        self._spread_s = 0.0
        self._pace = Pace()
        self._flying: dict[int, int] = {}
        self._room = asyncio.Event()
        self._credits = 0
        self._credit = asyncio.Event()
        self._told: set[tuple[int, int, str]] = set()
        self._heard_s = 0.0
        self._said = False
        self._untold = asyncio.Event()
        feed.orders.add("live", self._live_asked)

    async def run(self) -> None:
        """Raises TransientError or PermanentError when the connection ends."""
        await self._hello()
        self._feed.up()
        tasks = [asyncio.create_task(job) for job in self._jobs()]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except (aiohttp.ClientError, ConnectionError, OSError) as e:
            raise self._lost(plain(e)) from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _jobs(self) -> tuple[Coroutine[Any, Any, None], ...]:
        return self._read(), self._send_items(), self._send_live(), self._tell(), self._watch()

    def _lost(self, why: str) -> TransientError:
        """The other end went: the whole fleet has seen it and must not come back in one moment."""
        return TransientError(f"{self._label}: {why}", random.uniform(0.0, self._spread_s))

    async def _send(self, body: dict[str, Any]) -> None:
        await self._ws.send_str(json.dumps(body, separators=(",", ":")))

    async def _hello(self) -> None:
        outbox = self._feed.outbox
        try:
            await self._send({"t": "hello", "agent": __version__, "spool": outbox.spool, "next": outbox.next_seq})
            async with asyncio.timeout(WELCOME_S):
                while (body := self._control(await self._ws.receive())) is None or body.get("t") != "welcome":
                    pass
        except TimeoutError:
            raise TransientError(f"{self._label}: no welcome within {WELCOME_S:g} s") from None
        except (aiohttp.ClientError, ConnectionError, OSError) as e:
            raise TransientError(f"{self._label}: {plain(e)}") from None
        window, spread_s, now_ns = body.get("window"), body.get("spread_s"), body.get("now_ns")
        if isinstance(window, int) and window > 0:
            self._window = window
        if isinstance(spread_s, int | float) and 0 <= spread_s <= 300:
            self._spread_s = float(spread_s)
        if isinstance(now_ns, int):
            self._feed.orders.set_clock(now_ns)
        ack, ranges = told.ranges(body)
        if ack is not None:
            outbox.resume(ack, ranges, told.camera_id(body))

    def _control(self, message: aiohttp.WSMessage) -> dict[str, Any] | None:
        """A control message as a dict, None for what does not matter; raises when the session is over."""
        if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING):
            raise self._ended(self._ws.close_code)
        if message.type is WSMsgType.ERROR:
            raise self._lost(plain(self._ws.exception()))
        if message.type is not WSMsgType.TEXT:
            return None
        try:
            body = json.loads(message.data)
        except (ValueError, RecursionError):
            raise TransientError(f"{self._label}: the server sent text that is not JSON") from None
        return body if isinstance(body, dict) else None

    def _ended(self, code: int | None) -> Exception:
        if code == 4401:
            return PermanentError(f"{self._label}: the server refuses the token (4401)")
        if code == 4408:
            why = "another session of this spool replaced it (4408): a copy, or a line that doubles?"
            return TransientError(f"{self._label}: {why}", REPLACED_S)
        if code == 4410:
            return GoneError(f"{self._label}: the server says that this camera was deleted or has ended (4410)")
        if code in RESTARTS:
            return self._lost(f"the server restarts ({code})")
        return self._lost(f"the server ended the session ({code})")

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            message = await self._ws.receive()
            self._heard_s = loop.time()
            if message.type is WSMsgType.PING:
                await self._ws.pong(message.data)
            elif message.type is WSMsgType.PONG:
                self._pace.echoed(bytes(message.data))
                if self._flying:
                    self._feed.up()  # parts of a large item arrive over a slow line
            elif (body := self._control(message)) is not None:
                await self._heed(body)

    async def _heed(self, body: dict[str, Any]) -> None:
        kind = body.get("t")
        if kind == "ack":
            self._acked(body)
        elif kind == "nack":
            await self._refused(body)
        elif kind == "live":
            self._grant(body.get("n"))
        elif kind == "cmd":
            await self._send(await self._feed.orders.obey(body))

    async def _live_asked(self, args: dict[str, Any]) -> None:
        self._grant(args.get("n"))

    def _grant(self, n: Any) -> None:
        self._credits = n if isinstance(n, int) and 0 <= n <= 64 else 0
        self._credit.set()

    def _acked(self, body: dict[str, Any]) -> None:
        ack, ranges = told.ranges(body)
        if ack is None:
            return
        self._feed.outbox.ack(ack, ranges)
        for seq in [s for s in self._flying if s <= ack or any(a <= s <= b for a, b in ranges)]:
            del self._flying[seq]
        self._room.set()

    async def _refused(self, body: dict[str, Any]) -> None:
        seq, code = body.get("seq"), str(body.get("code", ""))[:40]
        if code in ("full", "digest") or not isinstance(seq, int):
            raise TransientError(f"{self._label}: the server did not take item {seq} ({code})")
        self._flying.pop(seq, None)
        if code != "conflict":
            await self._drop(seq, seq, "refused")
        self._feed.outbox.refuse(seq, code)
        self._room.set()

    async def _drop(self, first: int, last: int, why: str) -> None:
        dropped = {"t": "dropped", "spool": self._feed.outbox.spool, "first": first, "last": last, "why": why}
        await self._send(dropped)

    async def _tell(self) -> None:
        """Declare what is given up, now and while the session lasts."""
        while True:
            gaps = self._feed.outbox.dropped()
            for gap in gaps:
                if gap not in self._told:
                    await self._drop(*gap)
            self._told = set(gaps)
            self._untold.clear()
            await self._untold.wait()

    async def _send_items(self) -> None:
        session = self._feed.outbox.session()
        while True:
            await self._pace.room()
            while (is_full := sum(self._flying.values()) >= self._window) and not session.unfinished:
                self._room.clear()
                await self._room.wait()
            # What has begun goes on: an item larger than the window is acknowledged when all of it is there.
            part = await session.part(self._pace.part_bytes, begin=not is_full)
            if not part.start or part.item.seq in self._flying:  # else it was refused meanwhile
                self._flying[part.item.seq] = part.end
            await self._ws.send_bytes(wire.pack_part(part.item, part.start, part.end))
            if (mark := self._pace.sent(part.end - part.start)) is not None:
                await self._ws.ping(mark)

    async def _watch(self) -> None:
        """Keep the line alive, and notice one that takes no bytes any more while something is under way."""
        loop = asyncio.get_running_loop()
        moved_s = self._heard_s = pinged_s = loop.time()
        left = 0
        await self._ws.ping(self._pace.mark())
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._told.issuperset(self._feed.outbox.dropped()):
                self._untold.set()
            now_s, queued = loop.time(), self._queued()
            if queued != left or queued == 0:
                moved_s = now_s if queued != left else moved_s
                left = queued
            if now_s - self._heard_s > SILENCE_S:
                raise TransientError(f"{self._label}: silent for {SILENCE_S:g} s")
            quiet_s = now_s - max(moved_s, self._heard_s)
            if min(quiet_s, max(self._pace.oldest_s, now_s - pinged_s if left else 0.0)) > STUCK_S:
                raise TransientError(f"{self._label}: takes nothing and says nothing for {STUCK_S:g} s")
            if now_s - pinged_s >= (PING_S if not self._flying else LOOK_S * 2):
                pinged_s = now_s
                await self._ws.ping(self._pace.mark())

    def _queued(self) -> int:
        """Bytes that this machine has not got rid of."""
        transport = self._ws.get_extra_info("socket")
        if not isinstance(transport, socket.socket) and not hasattr(transport, "fileno"):
            return 0
        try:
            return int(struct.unpack("i", fcntl.ioctl(transport.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])
        except OSError:
            return 0

    async def _send_live(self) -> None:
        while True:
            while self._credits <= 0:
                self._credit.clear()
                await self._credit.wait()
            with self._feed.live.subscribe(1) as frames:
                frames.catch_up()
                while self._credits > 0:
                    frame = await frames.get()
                    if self._credits <= 0:
                        break
                    if len(frame.data) > wire.MAX_LIVE_BYTES:
                        self._too_large(len(frame.data))
                        continue
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

    def _too_large(self, size: int) -> None:
        """Said once: whoever looks sees nothing, and should know why."""
        if not self._said:
            self._said = True
            text = "%s → %s: live pictures of %d bytes are too large, at most %d; recordings are not"
            log.warning(text, self._feed.camera, self._label, size, wire.MAX_LIVE_BYTES)


def plain(e: BaseException | None) -> str:
    """An error in a few words: the system's own text without the exception's class."""
    inner = getattr(e, "os_error", None) or e
    if isinstance(inner, OSError) and inner.errno:
        return os.strerror(inner.errno) if inner.errno > 0 else inner.strerror or str(inner)
    return str(e) or type(e).__name__
