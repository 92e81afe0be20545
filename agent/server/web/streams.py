"""Live pictures for programs: MJPEG over HTTP, and a JPEG a message over WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from aiohttp import web

from agent.frame import Codec, Frame
from agent.server.cameras import Camera, Cameras, Close
from agent.server.web.access import Access, Routes, Rules, while_allowed
from agent.server.web.api import ROOT
from agent.server.web.openapi import Op
from agent.server.web.outlet import Outlet, framed
from agent.server.web.sockets import messages

BOUNDARY = "camera-agent-picture"
CHECK_S = 2.0
CLOSE_S = 0.5


def part(frame: Frame) -> bytes:
    """A frame as one part of the multipart body, in the chunk that HTTP/1.1 carries it in."""
    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(frame.data)}\r\n"
    body = f"{head}X-Time-Ms: {frame.wall_ns / 1e6:.3f}\r\n\r\n".encode() + frame.data + b"\r\n"
    return b"%x\r\n" % len(body) + body + b"\r\n"


def message(frame: Frame) -> bytes:
    """A JPEG a message."""
    return framed(frame.data)


class Streams:
    """Both end with their camera, with the session that opened them, and when nobody reads."""

    def __init__(self, cameras: Cameras, rules: Rules) -> None:
        self._cameras = cameras
        self._rules = rules
        self._handlers: set[asyncio.Task[Any]] = set()
        self._running: dict[Outlet, tuple[Callable[[], bool], Close]] = {}
        self._minder: asyncio.Task[None] | None = None

    def add_to(self, routes: Routes) -> None:
        camera = ROOT + "/cameras/{camera}"
        op = Op("Live, as MJPEG; endless", media=("multipart/x-mixed-replace",))
        routes.add("GET", camera + "/live.mjpeg", Access.VIEWER, self._mjpeg, op)
        routes.add("GET", camera + "/live.ws", Access.VIEWER, self._websocket)

    async def _mjpeg(self, request: web.Request) -> web.StreamResponse:
        camera = self._camera(request)
        return await self.mjpeg(request, camera, while_allowed(self._rules, request, camera.name))

    def _camera(self, request: web.Request) -> Camera:
        """The camera of the path; raises HTTPNotFound where no JPEG will come."""
        camera = self._cameras.get(request.match_info["camera"])
        assert camera is not None
        if (newest := camera.hub.newest) is not None and newest.codec is not Codec.JPEG:
            raise web.HTTPNotFound(text="this camera sends films: see live.mp4")
        return camera

    async def mjpeg(self, request: web.Request, camera: Camera, may: Callable[[], bool]) -> web.StreamResponse:
        """Answer with the camera's live pictures while `may()`."""
        headers = {"Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers)
        response.force_close()
        if request.version >= (1, 1):
            response.enable_chunked_encoding()
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        pack = part if request.version >= (1, 1) else _unchunked
        await self._run(request, camera, pack, "mjpeg" if pack is part else "mjpeg10", may)
        return response

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        camera = self._camera(request)
        ws = web.WebSocketResponse(compress=False, autoping=False, max_msg_size=4096, timeout=CLOSE_S, heartbeat=20.0)
        if not ws.can_prepare(request):
            raise web.HTTPUpgradeRequired(text="this is a WebSocket", headers={"Upgrade": "websocket"})
        await ws.prepare(request)
        reading = asyncio.create_task(_read(ws))
        try:
            may = while_allowed(self._rules, request, camera.name)
            code = await self._run(request, camera, message, "ws", may, reading)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(CLOSE_S):
                await ws.close(code=code)
        return ws

    async def _run(
        self,
        request: web.Request,
        camera: Camera,
        pack: Callable[[Frame], bytes],
        form: str,
        may: Callable[[], bool],
        reading: asyncio.Task[None] | None = None,
    ) -> int:
        """Until somebody has a reason to end it: the code that says which."""
        await camera.recall()
        transport = request.transport
        if transport is None:
            return 1006
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def close(code: int, reason: str = "") -> None:
            if not told.done():
                told.set_result(code)

        outlet = Outlet(transport, camera.form(form, pack), lambda: close(1000))
        if reading is not None:
            reading.add_done_callback(lambda _: close(1000))
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self._running[outlet] = (may, close)
        self._cameras.remember(camera, close)
        camera.hub.add(outlet)
        if self._minder is None:
            self._minder = asyncio.get_running_loop().create_task(self._mind())
        try:
            if (latest := camera.hub.latest) is not None and latest.codec is Codec.JPEG:
                outlet.offer(latest)
            return await told
        finally:
            camera.hub.discard(outlet)
            self._cameras.forget(camera, close)
            outlet.close()
            del self._running[outlet]
            self._handlers.discard(task)

    async def _mind(self) -> None:
        """End those that may look no longer, and those whose connection is gone; one task for all viewers."""
        while self._running:
            await asyncio.sleep(CHECK_S)
            for outlet, (may, close) in list(self._running.items()):
                if outlet.gone():
                    close(1000, "")
                elif not may():
                    close(4401, "")
        self._minder = None

    async def closed(self) -> None:
        """Wait until those that were told to end have ended, a second at most."""
        if self._minder is not None:
            self._minder.cancel()
        if self._handlers:
            await asyncio.wait(list(self._handlers), timeout=1.0)


def _unchunked(frame: Frame) -> bytes:
    chunk = part(frame)
    return chunk[chunk.index(b"\r\n") + 2 : -2]


async def _read(ws: web.WebSocketResponse) -> None:
    async for _ in messages(ws):
        pass
