"""The way in for agents: the server's end of the WebSocket uplink (docs/protocol.md)."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Coroutine
from typing import Any

from aiohttp import WSMsgType, web

from agent.clock import Clock
from agent.frame import Codec, Frame, Item
from agent.media import wire
from agent.server.archive import SPOOL, Outcome
from agent.server.cameras import Camera, Cameras
from agent.server.ingest import Intake
from agent.server.ingest.admission import admit
from agent.server.ingest.assembly import Assembly
from agent.server.ingest.masked import Masked
from agent.server.ingest.requests import Requests
from agent.server.ledger import MAX_SEQ
from agent.server.web.sockets import IN_A_ROW

log = logging.getLogger(__name__)

WINDOW_BYTES = 4 * 1024 * 1024
MAX_FLYING = 256
GRANT, GRANT_LEANING = 2, 64
HELLO_S = 10.0
SILENCE_S = 45.0
PING_S = 20.0
CLOSE_S = 0.5
CROWDED_S = 10.0
AT_ONCE = 16
MALFORMED, TOO_BIG, FAULT, CROWDED, REPLACED, DELETED = 1002, 1009, 1011, 1013, 4408, 4410


class Ended(Exception):
    """The session is over; `code` and the text are what the peer is told."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Uplink:
    """All agents' sessions."""

    def __init__(self, cameras: Cameras, intake: Intake, clock: Clock) -> None:
        self._cameras = cameras
        self._intake = intake
        self._clock = clock
        self._sessions: dict[tuple[str, str], Session] = {}
        self._handlers: dict[asyncio.Task[Any], Camera] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/cam/{camera}/stream`; refusals come before the 101."""
        camera = await admit(self._cameras, request)
        ws = socket()
        if not _speaks(request) or not ws.can_prepare(request):
            raise _upgrade_required()
        if sum(c is camera for c in self._handlers.values()) >= AT_ONCE:
            raise web.HTTPTooManyRequests(
                text=f"more than {AT_ONCE} sessions of this camera", headers={"Retry-After": "10"}
            )
        await ws.prepare(request)
        await self._serve(ws, camera, request)
        return ws

    async def _serve(self, ws: web.WebSocketResponse, camera: Camera, request: web.Request) -> None:
        session = Session(ws, camera, self._intake, self._clock, self._cameras.spread_s())
        Masked.require(request, lambda: session.end(MALFORMED, "a frame that is not masked"))
        task = asyncio.current_task()
        assert task is not None
        self._handlers[task] = camera
        self._cameras.came(camera, session.end)
        if self._cameras.get(camera.name) is not camera:
            session.end(DELETED, "camera deleted")  # it went during the handshake
        try:
            try:
                await session.hello()
                await self._run(session)
            finally:
                await session.settle()
        except Ended as e:
            if e.code in (MALFORMED, TOO_BIG):
                log.warning("%s: the agent's session ended: %s", camera.name, e)
            await _shut(ws, e.code, str(e))
        except ConnectionError:
            pass
        finally:
            self._cameras.went(camera, session.end)
            del self._handlers[task]

    async def _run(self, session: Session) -> None:
        key = (session.camera.name, session.spool)
        old = self._sessions.get(key)
        self._sessions[key] = session
        if old is not None:
            old.end(REPLACED, "replaced by a newer session")
        session.camera.command = session.requests.ask
        try:
            await session.run()
        finally:
            if session.camera.command == session.requests.ask:
                session.camera.command = None
            if self._sessions.get(key) is session:
                del self._sessions[key]

    async def closed(self) -> None:
        """Wait until the sessions that were told to end have said so, a second at most."""
        if self._handlers:
            await asyncio.wait(list(self._handlers), timeout=1.0)


class Session:
    """One agent's connection: reads, acknowledges in batches, and asks for live frames while somebody looks."""

    def __init__(
        self, ws: web.WebSocketResponse, camera: Camera, intake: Intake, clock: Clock, spread_s: float = 0.0
    ) -> None:
        self.ws = ws
        self.requests = Requests(self._send, clock)
        self._spread_s = spread_s
        self.camera = camera
        self.spool = ""
        self._intake = intake
        self._clock = clock
        self._assembly = Assembly(camera.name, "")
        self._share = intake.room.share(camera)
        self._flying_bytes = 0
        self._takes: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._ackable = asyncio.Event()
        self._wanted = asyncio.Event()
        self._credits = 0
        self._fault: BaseException | None = None
        self._told: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    def end(self, code: int, reason: str) -> None:
        """Have the session end itself: only the task that reads may close, or the farewell gets lost."""
        if not self._told.done():
            self._told.set_result(Ended(code, reason))

    async def hello(self) -> None:
        """Read the hello, answer with the welcome; raises Ended."""
        await self._first(self._greet())

    async def _greet(self) -> None:
        try:
            async with asyncio.timeout(HELLO_S):
                message = await self.ws.receive()
        except TimeoutError:
            raise Ended(MALFORMED, "no hello") from None
        if message.type is not WSMsgType.TEXT:
            raise Ended(MALFORMED, "the first message is not a hello")
        body = _control(message.data)
        spool = body.get("spool")
        if body.get("t") != "hello" or not isinstance(spool, str) or not SPOOL.match(spool):
            raise Ended(MALFORMED, "the first message is not a hello with a spool")
        self.spool = spool
        self._assembly = Assembly(self.camera.name, spool)
        if (standing := await self._intake.standing(self.camera.name, spool)) is None:
            raise Ended(DELETED, "camera deleted")
        ack, have, camera_id = standing
        await self._send(
            {
                "t": "welcome",
                "ack": ack,
                "have": have,
                "camera_id": camera_id,
                "window": WINDOW_BYTES,
                "now_ns": self._clock.wall_ns(),
                "spread_s": self._spread_s,
            }
        )

    async def run(self) -> None:
        """Until the agent goes; raises Ended when this end has a reason to end it."""
        await self._first(self._read(), self._acks(), self._ask(), self._demand(), self._ping())

    async def _first(self, *jobs: Coroutine[Any, Any, None]) -> None:
        """Run them until one ends or the session is told to."""
        tasks = [asyncio.create_task(job) for job in jobs]
        ends: list[asyncio.Future[Any]] = [*tasks, self._told]
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._told in done:
                raise self._told.result()
            for task in tasks:
                if task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def settle(self) -> None:
        """What has arrived whole is stored, also when the line is cut."""
        if self._takes:
            await asyncio.wait(self._takes, timeout=5.0)
        self._assembly.clear()
        self._share.give_back()

    async def _read(self) -> None:
        for count in itertools.count(1):
            if count % IN_A_ROW == 0:
                await asyncio.sleep(0)
            try:
                async with asyncio.timeout(SILENCE_S):
                    message = await self.ws.receive()
            except TimeoutError:
                raise Ended(1001, f"silent for {SILENCE_S:g} s") from None
            if message.type is WSMsgType.BINARY:
                await self._binary(message.data)
            elif message.type is WSMsgType.TEXT:
                await self._text(message.data)
            elif message.type is WSMsgType.PING:
                await self.ws.pong(message.data)
            elif message.type is not WSMsgType.PONG:
                return
            if self._fault is not None:
                raise Ended(FAULT, "internal error") from self._fault

    async def _binary(self, data: bytes) -> None:
        if (seq := _oversized(data)) is not None:
            await self._send({"t": "nack", "seq": seq, "code": "size"})
            return
        try:
            message = wire.unpack(data)
            if isinstance(message, wire.LiveMessage):
                self._publish(message)
                return
            item = self._assembly.add(message)
        except ValueError as e:
            raise Ended(MALFORMED, str(e)) from None
        if item is not None:
            await self._start(item)
        await self._hold()

    async def _hold(self) -> None:
        """Reads no further while the uploads of the account hold too much; raises Ended where that does not change."""
        if self._share.grow(self._assembly.bytes + self._flying_bytes):
            return
        until_s = asyncio.get_running_loop().time() + CROWDED_S
        while not self._share.fits():
            if asyncio.get_running_loop().time() > until_s:
                raise Ended(CROWDED, "the uploads of this account hold too much at once")
            await asyncio.sleep(0.05)

    def _publish(self, m: wire.LiveMessage) -> None:
        self._credits = max(0, self._credits - 1)
        self._wanted.set()
        times = (self._clock.monotonic_ns(), m.wall_ns)
        frame = Frame(Codec(m.codec), bytes(m.data), m.keyframe, *times, m.index, delay_us=m.delay_us)
        self.camera.publish(frame)

    async def _start(self, item: Item) -> None:
        """Hand the item to the store; reads no further while more than a window waits to become durable."""
        size = len(item.payload)
        while self._takes and (self._flying_bytes + size > WINDOW_BYTES or len(self._takes) >= MAX_FLYING):
            self._room.clear()
            await self._room.wait()
        self._flying_bytes += size
        task = asyncio.create_task(self._take(item))
        self._takes.add(task)
        task.add_done_callback(self._taken)

    async def _take(self, item: Item) -> None:
        try:
            outcome = await self._intake.take(self.camera, item)
            if not outcome.settled and outcome is not Outcome.GONE:
                await self._send({"t": "nack", "seq": item.seq, "code": outcome.value})
        except ConnectionError:
            pass
        except Exception as e:
            log.exception("%s: item %s-%d", self.camera.name, self.spool, item.seq)
            self._fault = e
        finally:
            self._flying_bytes -= len(item.payload)
            self._share.shrink(len(item.payload))
            self._ackable.set()

    def _taken(self, task: asyncio.Task[None]) -> None:
        """Only now it is none of those that are under way: who is woken earlier still counts it, and waits for ever."""
        self._takes.discard(task)
        self._room.set()

    async def _text(self, text: str) -> None:
        body = _control(text)
        if body.get("t") == "done":
            self.requests.done(body)
        if body.get("t") != "dropped" or body.get("spool") != self.spool:
            return
        first, last = body.get("first"), body.get("last")
        if not (isinstance(first, int) and isinstance(last, int) and 1 <= first <= last <= MAX_SEQ):
            raise Ended(MALFORMED, "dropped names no range")
        await self._intake.declare(self.camera, self.spool, first, last, body.get("why"))
        self._ackable.set()

    async def _acks(self) -> None:
        while True:
            await self._ackable.wait()
            self._ackable.clear()
            ack, have = await self._intake.archive.acks(self.camera.name, self.spool)
            await self._send({"t": "ack", "spool": self.spool, "ack": ack, "have": have})

    async def _ask(self) -> None:
        self._wanted.set()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            newest = self.camera.hub.newest
            leans = newest is not None and newest.codec is not Codec.JPEG
            want = (GRANT_LEANING if leans else GRANT) if self.camera.hub.readers else 0
            # Frames that lean on others must all come, over slow lines too: many are under way at once.
            if want != self._credits and not (leans and want and self._credits > want // 2):
                self._credits = want
                await self._send({"t": "live", "n": want})

    async def _demand(self) -> None:
        changed = self.camera.hub.changed
        while True:
            changed.clear()
            await changed.wait()
            self._wanted.set()

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_S)
            await self.ws.ping()

    async def _send(self, body: dict[str, Any]) -> None:
        await self.ws.send_str(json.dumps(body, separators=(",", ":")))


def _control(text: str) -> dict[str, Any]:
    if len(text) > 65536:
        raise Ended(MALFORMED, "control message over 64 KiB")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise Ended(MALFORMED, "text that is not JSON") from None
    if not isinstance(body, dict):
        raise Ended(MALFORMED, "control message that is no object")
    return body


def _oversized(data: bytes) -> int | None:
    """The number of the item that this part belongs to, if that item is too big to be taken at all."""
    if len(data) < wire.HEAD.size:
        return None
    version, kind, _, _, _, _, seq, _, _, _, _, total = wire.HEAD.unpack_from(data)
    return int(seq) if version == wire.VERSION and kind == wire.ITEM and total > wire.MAX_ITEM_BYTES else None


def socket() -> web.WebSocketResponse:
    """This end of a connection, before its handshake."""
    return web.WebSocketResponse(
        protocols=(wire.SUBPROTOCOL,),
        compress=False,
        autoping=False,
        max_msg_size=wire.MAX_MESSAGE_BYTES,
        timeout=CLOSE_S,
    )


def _speaks(request: web.Request) -> bool:
    offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    return wire.SUBPROTOCOL in (p.strip() for p in offered)


def _upgrade_required() -> web.HTTPException:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Protocol": wire.SUBPROTOCOL}
    return web.HTTPUpgradeRequired(text=f"this is a WebSocket of {wire.SUBPROTOCOL}", headers=headers)


async def _shut(ws: web.WebSocketResponse, code: int, reason: str) -> None:
    try:
        async with asyncio.timeout(CLOSE_S):
            await ws.close(code=code, message=reason.encode()[:120])
    except (TimeoutError, ConnectionError):
        pass
