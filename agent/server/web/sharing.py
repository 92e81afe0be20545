"""What a share link opens: one event's film or one camera's live picture, and nothing else; for anybody."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from aiohttp import web

from agent.clock import Clock
from agent.frame import Codec
from agent.media import clip
from agent.server.cameras import Camera, Cameras
from agent.server.catalog import Catalog, StoredEvent
from agent.server.shares import Share, Shares
from agent.server.web.access import Access, Routes
from agent.server.web.auth import Throttle
from agent.server.web.films import Films, written
from agent.server.web.streams import BOUNDARY, Streams

PRIVATE = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex", "Referrer-Policy": "no-referrer"}
LONGEST_PAUSE_S = 1.0


class Sharing:
    """`page(status, title, body)` makes the page; unknown, late and revoked links are alike: 404."""

    def __init__(
        self,
        shares: Shares,
        cameras: Cameras,
        catalog: Catalog,
        streams: Streams,
        films: Films,
        clock: Clock,
        page: Callable[[int, str, str], web.Response],
    ) -> None:
        self._shares = shares
        self._cameras = cameras
        self._catalog = catalog
        self._streams = streams
        self._films = films
        self._clock = clock
        self._page = page
        self._throttle = Throttle(clock)

    def add_to(self, routes: Routes) -> None:
        routes.add("GET", "/s/{code}", Access.OPEN, self._show)
        routes.add("GET", "/s/{code}/picture.jpg", Access.OPEN, self._picture)
        routes.add("GET", "/s/{code}/film.mjpeg", Access.OPEN, self._film)
        routes.add("GET", "/s/{code}/film.mp4", Access.OPEN, self._mp4)

    async def _find(self, request: web.Request, *, count: bool = False) -> tuple[Share, Camera, StoredEvent | None]:
        address = request.remote or ""
        if wait_s := self._throttle.wait_s(address):
            raise web.HTTPTooManyRequests(text="too many wrong links", headers={"Retry-After": str(wait_s)})
        share = await self._shares.find(request.match_info["code"], count=count and request.method == "GET")
        camera = self._cameras.get(share.camera) if share else None
        event = await self._catalog.event(share.event) if share and share.event else None
        if share is None or camera is None or (share.event and (event is None or event.camera != camera.name)):
            self._throttle.failed(address)
            raise web.HTTPNotFound(text="This link does not open anything (any more).", headers=PRIVATE)
        return share, camera, event

    async def _show(self, request: web.Request) -> web.Response:
        share, camera, event = await self._find(request, count=True)
        code, name = html.escape(request.match_info["code"]), html.escape(camera.name)
        at_ns = event.at_ns if event else self._clock.wall_ns()
        when = datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%d %b %Y %H:%M UTC") if event else "live"
        until = datetime.fromtimestamp(min(share.expires_ns / 1e9, 253e9), UTC).strftime("%d %b %Y %H:%M UTC")
        shown = await self._picture_of(code, f"{name}, {html.escape(when)}", event)
        once = event is not None and shown.startswith("<img")  # a film without the browser's buttons
        again = f'<a class="button quiet" href="/s/{code}">Play again</a> ' if once else ""
        body = (
            f'<p id="when" class="muted">{html.escape(when) if event else ""}</p>{shown}'
            f'<p class="row">{again}<a class="button quiet" href="/s/{code}/picture.jpg" download>Save picture</a></p>'
            f'<p class="muted small">This link opens until {until}.</p>'
        )
        response = self._page(200, name, body)
        response.headers.update(PRIVATE)
        return response

    async def _picture_of(self, code: str, alt: str, event: StoredEvent | None) -> str:
        """What shows it: the browser's player where the camera's frames lean on others."""
        if event and any(i.codec is not Codec.JPEG for i in await self._catalog.clips(event)):
            return f'<video class="film" src="/s/{code}/film.mp4" aria-label="{alt}" controls playsinline></video>'
        picture = f'<img class="film" src="/s/{code}/film.mjpeg" alt="{alt}">'
        if event:
            return picture
        # What a camera sends is not known before somebody looks: the page plays the film where there is one.
        video = f'<video class="film" data-film="/s/{code}/film.mp4" aria-label="{alt}" hidden playsinline></video>'
        return f'{picture}{video}<script type="module" src="/static/share.js"></script>'

    async def _mp4(self, request: web.Request) -> web.StreamResponse:
        share, camera, event = await self._find(request)
        if event is None:
            return await self._films.live(request, camera, lambda: self._shares.lasts(share), PRIVATE)
        return await self._films.answer(request, event, PRIVATE)

    async def _picture(self, request: web.Request) -> web.Response:
        _, camera, event = await self._find(request)
        headers = dict(PRIVATE)
        if event is None:
            frame = await camera.picture(self._clock.monotonic_ns())
            data = frame.data if frame else None
            if frame is not None:
                age_ns = self._clock.monotonic_ns() - frame.pts_ns  # by our clock: an agent's own may be wrong
                headers["X-Age-Ms"] = f"{age_ns / 1e6:.0f}"
                headers["X-Time-Ms"] = f"{frame.wall_ns / 1e6:.3f}"
        else:
            data = await self._catalog.thumb(event)
        if not data or not data.startswith(b"\xff\xd8"):
            raise web.HTTPServiceUnavailable(text="no picture yet", headers=headers)
        return web.Response(body=data, content_type="image/jpeg", headers=headers)

    async def _film(self, request: web.Request) -> web.StreamResponse:
        share, camera, event = await self._find(request)
        if event is None:
            return await self._streams.mjpeg(request, camera, lambda: self._shares.lasts(share))
        headers = {**PRIVATE, "Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        last_ns = 0
        for item in await self._catalog.clips(event):
            data = await self._catalog.content(item)
            for e in _pictures(data or b""):
                if not self._shares.lasts(share):
                    return response
                await asyncio.sleep(min(max(0, e.wall_ns - last_ns) / 1e9, LONGEST_PAUSE_S) if last_ns else 0)
                last_ns = e.wall_ns
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {e.length}\r\n\r\n".encode()
                if not await written(request, response, head + (data or b"")[e.start : e.start + e.length] + b"\r\n"):
                    return response
        return response


def _pictures(data: bytes) -> Iterator[clip.Entry]:
    return (e for e in clip.entries(data) if e.codec is Codec.JPEG)
