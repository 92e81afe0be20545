"""H.264 and H.265 for players: an event as an MP4 file, and live as endless fragmented MP4."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from agent.clock import Clock
from agent.frame import Codec, Frame
from agent.hub import Subscription
from agent.media import fmp4
from agent.media.fmp4 import Sample, ticks
from agent.media.h264 import ParameterSets, parameter_sets, to_lengths
from agent.server import film
from agent.server.cameras import Camera, Cameras
from agent.server.catalog import Catalog, StoredEvent
from agent.server.film import Film
from agent.server.web.access import Access, Routes, Rules, while_allowed
from agent.server.web.api import EVENT_ID, FOREVER, ROOT, Api, begun
from agent.server.web.openapi import Op

MP4 = "video/mp4"
CACHED = {"Cache-Control": FOREVER}
MAY_GROW = {"Cache-Control": "private, no-cache"}
NOTHING: Mapping[str, str] = {}
PLANS = 8
FIRST_S = 10.0
STUCK_S = 30.0
CHECK_S = 5.0
FRESH_NS = 3_000_000_000
USUAL_NS, LONGEST_NS = 40_000_000, 2_000_000_000


class Films:
    """Plays what cameras coded, without coding anything anew."""

    def __init__(self, api: Api, cameras: Cameras, catalog: Catalog, rules: Rules, clock: Clock) -> None:
        self._api = api
        self._cameras = cameras
        self._catalog = catalog
        self._rules = rules
        self._clock = clock
        self._plans: OrderedDict[tuple[int, int, int], Film] = OrderedDict()

    def add_to(self, routes: Routes) -> None:
        query = {"to": {"type": "integer", "minimum": 0, "maximum": 2**53}}
        op = Op(
            "An H.264 or H.265 event as a film (ETag, Range); `to`: up to this item",
            media=(MP4,),
            ranges=True,
            query=query,
        )
        routes.add("GET", ROOT + f"/events/{{id:{EVENT_ID}}}/event.mp4", Access.VIEWER, self._event, op)
        live = Op("Live H.264 or H.265 as fragmented MP4; endless", media=(MP4,), errors=(503,))
        routes.add("GET", ROOT + "/cameras/{camera}/live.mp4", Access.VIEWER, self._live, live)

    async def _event(self, request: web.Request) -> web.StreamResponse:
        headers = CACHED if "to" in request.query else MAY_GROW
        return await self.answer(request, await self._api.stored_event(request), headers)

    async def answer(self, request: web.Request, event: StoredEvent, headers: Mapping[str, str]) -> web.StreamResponse:
        """The event's film, or what a Range asks for of it; who asks may see it. Raises HTTPNotFound."""
        text = request.query.get("to", "")
        if text and not (text.isascii() and text.isdigit() and len(text) < 18):
            raise web.HTTPBadRequest(text="to: expected an item's number")
        try:
            made = await self._plan(event, int(text) if text else None)
            return await self._send(request, event, made, headers)
        except ValueError as e:
            raise web.HTTPNotFound(text=str(e)) from None
        except FileNotFoundError:
            raise web.HTTPNotFound(text="deleted a moment ago") from None

    async def _plan(self, event: StoredEvent, to: int | None) -> Film:
        items = [i for i in await self._catalog.clips(event) if i.first_index is not None]
        if to is not None:
            items = [i for i in items if i.seq <= to]
        if not items:
            raise ValueError("this event has no H.264 or H.265; its pictures are in its items")
        key = (event.id, items[-1].seq, len(items))
        if (known := self._plans.get(key)) is not None:
            self._plans.move_to_end(key)
            return known
        first = items[0]
        before = await self._catalog.lead(first) if first.leans else []
        from_index = first.key_index if before else first.first_index
        made = await asyncio.to_thread(film.plan, before + items, from_index or 0)
        self._plans[key] = made
        if len(self._plans) > PLANS:
            self._plans.popitem(last=False)
        return made

    async def _send(
        self, request: web.Request, event: StoredEvent, made: Film, more: Mapping[str, str]
    ) -> web.StreamResponse:
        name = f"{event.camera}-{event.number}.mp4"
        headers = {**more, "Content-Type": MP4, "X-Codec": made.media_type}
        headers["Content-Disposition"] = f'inline; filename="{name}"'
        response, start, stop = begun(request, made.etag, made.size, headers)
        parts = made.read(start, stop)
        part = await asyncio.to_thread(next, parts, b"")  # what is gone is found before the head is sent
        await response.prepare(request)
        while part and request.method != "HEAD" and await written(request, response, part):
            try:
                part = await asyncio.to_thread(next, parts, b"")
            except FileNotFoundError:
                cut(request)
                break
        return response

    async def _live(self, request: web.Request) -> web.StreamResponse:
        camera = self._cameras.get(request.match_info["camera"])
        if camera is None:
            raise web.HTTPNotFound(text="no such camera")
        return await self.live(request, camera, while_allowed(self._rules, request, camera.name))

    async def live(
        self, request: web.Request, camera: Camera, may: Callable[[], bool], more: Mapping[str, str] = NOTHING
    ) -> web.StreamResponse:
        """Answer with the camera's live film while `may()`. Raises HTTPNotFound where it sends JPEGs."""
        with camera.hub.subscribe() as frames:
            self._catch_up(camera, frames)
            first, sets = await _first(frames)
            headers = {**more, "Content-Type": fmp4.media_type(sets), "X-Accel-Buffering": "no"}
            response = web.StreamResponse(headers=headers)
            response.force_close()
            if request.version >= (1, 1):
                response.enable_chunked_encoding()
            await response.prepare(request)
            if request.method != "HEAD":
                await self._play(request, response, camera, frames, Muxer(first, sets), may)
        return response

    def _catch_up(self, camera: Camera, frames: Subscription) -> None:
        newest = camera.hub.newest
        if newest is not None and self._clock.wall_ns() - newest.wall_ns < FRESH_NS:
            frames.catch_up()

    async def _play(
        self,
        request: web.Request,
        response: web.StreamResponse,
        camera: Camera,
        frames: Subscription,
        muxer: Muxer,
        may: Callable[[], bool],
    ) -> None:
        """Until the viewer goes, may no longer, takes nothing for half a minute, or the stream changes."""
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        close = lambda code, reason: None if told.done() else told.set_result(code)  # noqa: E731
        self._cameras.remember(camera, close)
        sending = asyncio.create_task(_write(response, frames, muxer))
        ends: set[asyncio.Future[Any]] = {told, sending}
        try:
            while may() and not (await asyncio.wait(ends, timeout=CHECK_S, return_when="FIRST_COMPLETED"))[0]:
                if request.transport is None or request.transport.is_closing():
                    break
        finally:
            self._cameras.forget(camera, close)
            sending.cancel()
            torn = not (sending.done() and not sending.cancelled() and sending.exception() is None)
            with contextlib.suppress(asyncio.CancelledError, TimeoutError, ConnectionError):
                await sending
            if torn:
                cut(request)


class Muxer:
    """One viewer's film: a fragment for each frame; what was dropped leaves no hole in its time."""

    def __init__(self, first: Frame, sets: ParameterSets) -> None:
        self._sets = sets
        self._number = 0
        self._at = 0
        self._step_ns = USUAL_NS
        self._last: Frame | None = None
        self.first = first
        self.head = fmp4.init_segment(sets)

    def fragment(self, frame: Frame) -> bytes:
        """Raises EOFError where another film would have to begin."""
        if frame.keyframe and not _fits(frame, self._sets):
            raise EOFError
        if self._last is not None:
            step_ns = frame.wall_ns - self._last.wall_ns
            follows = frame.index == self._last.index + 1 and 0 < step_ns <= LONGEST_NS
            self._at += ticks(step_ns if follows else self._step_ns)
            self._step_ns = step_ns if follows else self._step_ns
        self._last = frame
        self._number += 1
        data = to_lengths(frame.data)
        sample = Sample(len(data), max(1, ticks(self._step_ns)), ticks(frame.delay_us * 1000), frame.keyframe)
        return fmp4.fragment_head(self._number, self._at, [sample]) + data


def _fits(frame: Frame, sets: ParameterSets) -> bool:
    return frame.codec is sets.codec and parameter_sets(frame.codec, frame.data) == sets


async def _first(frames: Subscription) -> tuple[Frame, ParameterSets]:
    """The keyframe that the film begins with; raises HTTPNotFound, HTTPServiceUnavailable where none comes."""
    try:
        async with asyncio.timeout(FIRST_S):
            frame = await frames.get()
            if frame.codec is Codec.JPEG:
                raise web.HTTPNotFound(text="this camera sends JPEGs: see live.mjpeg")
            sets = parameter_sets(frame.codec, frame.data)
            if not sets.complete:
                raise web.HTTPNotFound(text="this camera's keyframes have no parameter sets")
            sets.size()
            return frame, sets
    except TimeoutError:
        raise web.HTTPServiceUnavailable(text="no picture yet", headers={"Retry-After": "5"}) from None
    except ValueError as e:
        raise web.HTTPNotFound(text=f"this camera's parameter sets are damaged: {e}") from None


async def _write(response: web.StreamResponse, frames: Subscription, muxer: Muxer) -> None:
    await response.write(muxer.head + muxer.fragment(muxer.first))
    while True:
        frame = await frames.get()
        try:
            data = muxer.fragment(frame)
        except EOFError:
            return
        async with asyncio.timeout(STUCK_S):
            await response.write(data)


async def written(request: web.Request, response: web.StreamResponse, data: bytes) -> bool:
    """Write `data`; False, and the connection is cut, when the reader is gone or took nothing for half a minute."""
    try:
        async with asyncio.timeout(STUCK_S):
            await response.write(data)
    except (TimeoutError, ConnectionError):
        cut(request)
        return False
    return True


def cut(request: web.Request) -> None:
    """An answer that is not whole must not look so."""
    if request.transport is not None:
        request.transport.abort()
