"""Live view for browsers: a WebSocket with credits. The newest frame wins; nothing is sent when nobody looks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

from agent.clock import Clock
from agent.frame import Codec, Frame
from agent.server.cameras import Camera, Cameras
from agent.server.web.auth import Session

MAX_CREDITS = 4
INTERVAL_S = 0.095  # ten a second, and a camera that is a little fast does not fall behind
GRACE_S = 2.0
FRESH_NS = 3_000_000_000
CLOSE_S = 0.5
PING_S = 20.0


class Live:
    """All viewers; `session` says who asks."""

    def __init__(self, cameras: Cameras, clock: Clock, session: Callable[[web.Request], Session | None]) -> None:
        self._cameras = cameras
        self._clock = clock
        self._session = session
        self._open: dict[Viewer, bytes] = {}
        self._handlers: dict[Viewer, asyncio.Task[Any] | None] = {}

    @property
    def viewers(self) -> int:
        """How many people look: several pictures on one page are one."""
        return len(set(self._open.values()))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        camera = self._cameras.get(request.match_info["camera"])
        if camera is None:
            raise web.HTTPNotFound(text="no such camera")
        ws = web.WebSocketResponse(compress=False, heartbeat=PING_S, max_msg_size=4096, timeout=CLOSE_S)
        if not ws.can_prepare(request):
            raise web.HTTPUpgradeRequired(text="this is a WebSocket", headers={"Upgrade": "websocket"})
        session = self._session(request)
        await ws.prepare(request)
        viewer = Viewer(ws, camera, self._clock)
        self._open[viewer] = session.key if session else b""
        self._handlers[viewer] = asyncio.current_task()
        self._cameras.remember(camera, viewer.end)
        if self._cameras.get(camera.name) is not camera:
            viewer.end(4410)  # it went during the handshake
        try:
            await viewer.run()
        finally:
            self._cameras.forget(camera, viewer.end)
            del self._open[viewer], self._handlers[viewer]
        return ws

    async def end_session(self, key: bytes) -> None:
        """Close what a session that was logged out still looks at."""
        await self._end(4401, [viewer for viewer, k in self._open.items() if k == key])

    async def close(self) -> None:
        await self._end(1001, list(self._open))

    async def _end(self, code: int, viewers: list[Viewer]) -> None:
        for viewer in viewers:
            viewer.end(code)
        if tasks := [t for v in viewers if (t := self._handlers[v]) is not None]:
            await asyncio.wait(tasks, timeout=2 * CLOSE_S)


class Viewer:
    """One picture on somebody's screen."""

    def __init__(self, ws: web.WebSocketResponse, camera: Camera, clock: Clock) -> None:
        self._ws = ws
        self._camera = camera
        self._clock = clock
        self._credits = 0
        self._credit = asyncio.Event()
        self._allowed_s = 0.0
        self._told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

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
        async for message in self._ws:
            if message.type is WSMsgType.TEXT:
                self._take(message.data)

    def _take(self, text: str) -> None:
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            return
        n = body.get("n") if isinstance(body, dict) and body.get("t") == "live" else None
        if isinstance(n, int) and n > 0:
            self._credits = min(MAX_CREDITS, self._credits + n)
            self._credit.set()
        elif n == 0:
            self._credits = 0

    async def _send(self) -> None:
        last: Frame | None = None
        while True:
            await self._credited(None)
            with self._camera.hub.subscribe(1) as frames:
                if (first := self._known()) is not None and first is not last:
                    frames.catch_up()
                while await self._credited(GRACE_S):
                    if self._sends_jpeg():
                        await self._pace()
                    frame = await frames.get()
                    if frame is last or self._credits <= 0:
                        continue
                    last = frame
                    self._credits -= 1
                    try:
                        await self._ws.send_bytes(self._camera.message(frame))
                    except ConnectionError:
                        return

    def _sends_jpeg(self) -> bool:
        """Only of JPEGs some can be left out."""
        newest = self._camera.hub.newest
        return newest is None or newest.codec is Codec.JPEG

    def _known(self) -> Frame | None:
        """A picture to begin with: the newest if it is new, or if there will be no other for now."""
        latest = self._camera.hub.latest
        if latest is None or not self._camera.connected:
            return latest
        return latest if self._clock.wall_ns() - latest.wall_ns < FRESH_NS else None

    async def _credited(self, timeout_s: float | None) -> bool:
        """Wait for a credit; stays subscribed meanwhile, so that the newest frame is there with it."""
        while self._credits <= 0:
            self._credit.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._credit.wait()
            except TimeoutError:
                return False
        return True

    async def _pace(self) -> None:
        """At most ten frames a second; one frame of slack, so that a jittering camera is not delayed."""
        loop = asyncio.get_running_loop()
        if (wait_s := self._allowed_s - loop.time()) > 0:
            await asyncio.sleep(wait_s)
        self._allowed_s = max(self._allowed_s, loop.time() - INTERVAL_S) + INTERVAL_S


async def _shut(ws: web.WebSocketResponse, code: int) -> None:
    try:
        async with asyncio.timeout(CLOSE_S):
            await ws.close(code=code)
    except (TimeoutError, ConnectionError):
        pass
