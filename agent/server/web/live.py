"""Live view for browsers: a WebSocket with credits. The newest frame wins; nothing is sent when nobody looks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from aiohttp import WSMsgType, web

from agent.clock import Clock
from agent.frame import Codec, Frame
from agent.media.wire import pack_live
from agent.server.cameras import Camera, Cameras
from agent.server.web.access import Rules, while_allowed
from agent.server.web.auth import Session
from agent.server.web.credits import Credits
from agent.server.web.outlet import Outlet, framed
from agent.server.web.sockets import messages

MAX_CREDITS = 32
GRACE_S = 2.0
FRESH_NS = 3_000_000_000
CLOSE_S = 0.5
CHECK_S = 1.0
PING_S = 20.0


class Live:
    """All viewers; `session` says which browser asks, `rules` whether it may go on."""

    def __init__(
        self, cameras: Cameras, clock: Clock, rules: Rules, session: Callable[[web.Request], Session | None]
    ) -> None:
        self._cameras = cameras
        self._clock = clock
        self._rules = rules
        self._session = session
        self._open: dict[Viewer, bytes] = {}
        self._handlers: dict[Viewer, asyncio.Task[Any] | None] = {}
        self._minder: asyncio.Task[None] | None = None

    @property
    def viewers(self) -> int:
        """How many people look: several pictures on one page are one."""
        return len(set(self._open.values()))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        camera = self._cameras.get(request.match_info["camera"])
        if camera is None:
            raise web.HTTPNotFound(text="no such camera")
        ws = web.WebSocketResponse(compress=False, autoping=False, heartbeat=PING_S, max_msg_size=4096, timeout=CLOSE_S)
        if not ws.can_prepare(request):
            raise web.HTTPUpgradeRequired(text="this is a WebSocket", headers={"Upgrade": "websocket"})
        session = self._session(request)
        await camera.recall()
        await ws.prepare(request)
        if (transport := request.transport) is None:
            return ws
        viewer = Viewer(ws, transport, camera, self._clock, while_allowed(self._rules, request, camera.name))
        self._open[viewer] = session.hash if session else b""
        self._handlers[viewer] = asyncio.current_task()
        self._cameras.remember(camera, viewer.end)
        if self._minder is None:
            self._minder = asyncio.create_task(self._mind())
        if self._cameras.get(camera.name) is not camera:
            viewer.end(4410)  # it went during the handshake
        try:
            await viewer.run()
        finally:
            self._cameras.forget(camera, viewer.end)
            del self._open[viewer], self._handlers[viewer]
        return ws

    async def _mind(self) -> None:
        """One task for all viewers."""
        while self._open:
            await asyncio.sleep(CHECK_S)
            for viewer in self._open:
                viewer.look()
        self._minder = None

    async def end_session(self, key: bytes) -> None:
        """Close what a session that was logged out still looks at."""
        await self._end(4401, [viewer for viewer, k in self._open.items() if k == key])

    async def close(self) -> None:
        if self._minder is not None:
            self._minder.cancel()
        await self._end(1001, list(self._open))

    async def _end(self, code: int, viewers: list[Viewer]) -> None:
        for viewer in viewers:
            viewer.end(code)
        if tasks := [t for v in viewers if (t := self._handlers[v]) is not None]:
            await asyncio.wait(tasks, timeout=2 * CLOSE_S)


class Viewer:
    """One picture on somebody's screen.

    JPEGs go through an `Outlet`, which wakes no task; films, of which no frame can be left out, through a task.
    """

    def __init__(
        self,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport,
        camera: Camera,
        clock: Clock,
        may: Callable[[], bool],
    ) -> None:
        self._ws = ws
        self._camera = camera
        self._clock = clock
        self._may = may
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Future[int] = self._loop.create_future()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._credit = asyncio.Event()
        self._idle = 0
        self._last: Frame | None = None
        packed = camera.form("live in a WebSocket", lambda frame: framed(pack_live(frame)))
        self._outlet = Outlet(transport, packed, lambda: self.end(1000), self._pause, 0)
        Credits.put_before(transport, self._take)

    def end(self, code: int, reason: str = "") -> None:
        """Have the viewer end itself: only the task that reads may close, or the farewell gets lost."""
        if not self._told.done():
            self._told.set_result(code)

    async def run(self) -> None:
        jobs = [asyncio.create_task(self._read()), asyncio.create_task(self._send())]
        ends: list[asyncio.Future[Any]] = [*jobs, self._told]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
        if self._told.done():
            await _shut(self._ws, self._told.result())

    async def _read(self) -> None:
        async for message in messages(self._ws):
            if message.type is WSMsgType.TEXT:
                self._take(message.data.encode())

    def _take(self, text: bytes) -> None:
        n = _wanted(text)
        if n is None:
            return
        self._idle = 0
        self._outlet.grant(n, MAX_CREDITS)
        if n and not self._credit.is_set():
            self._credit.set()

    def look(self) -> None:
        """Called every second: who gave no credit for a while has no need of the camera, and some may look no more."""
        if not self._may():
            self.end(4401)
        self._idle += self._outlet.credits == 0
        if self._idle > GRACE_S:
            self._pause()

    def _pause(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    async def _send(self) -> None:
        while True:
            await self._credited(None)
            newest = self._camera.hub.newest
            await (self._pictures() if newest is None or newest.codec is Codec.JPEG else self._film())

    async def _pictures(self) -> None:
        """Until no credit comes any more, or something else than JPEGs does."""
        hub, outlet = self._camera.hub, self._outlet
        self._over = self._loop.create_future()
        self._idle = 0
        hub.add(outlet)
        try:
            if (first := self._known()) is not None and first is not outlet.sent:
                outlet.offer(first)
            await self._over
        finally:
            hub.discard(outlet)
            outlet.close()

    async def _film(self) -> None:
        with self._camera.hub.subscribe(1) as frames:
            if (first := self._known()) is not None and first is not self._last:
                frames.catch_up()
            while await self._credited(GRACE_S):
                frame = await frames.get()
                if frame is self._last or not self._outlet.credits:
                    continue
                self._last = frame
                self._outlet.credits -= 1
                try:
                    await self._ws.send_bytes(pack_live(frame))
                except ConnectionError:
                    return
                if frame.codec is Codec.JPEG:
                    return

    def _known(self) -> Frame | None:
        """A picture to begin with: the newest if it is new, or if there will be no other for now."""
        latest = self._camera.hub.latest
        if latest is None or self._camera.command is None:
            return latest
        return latest if self._clock.wall_ns() - latest.wall_ns < FRESH_NS else None

    async def _credited(self, timeout_s: float | None) -> bool:
        """Wait for a credit; stays subscribed meanwhile, so that the newest frame is there with it."""
        while not self._outlet.credits:
            self._credit.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._credit.wait()
            except TimeoutError:
                return False
        return True


@lru_cache(maxsize=64)
def _wanted(text: bytes) -> int | None:
    """How many pictures a viewer's message asks for; 0: no more; None: it asks for nothing."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return None
    n = body.get("n") if isinstance(body, dict) and body.get("t") == "live" else None
    return n if isinstance(n, int) and n >= 0 else None


async def _shut(ws: web.WebSocketResponse, code: int) -> None:
    try:
        async with asyncio.timeout(CLOSE_S):
            await ws.close(code=code)
    except (TimeoutError, ConnectionError):
        pass
