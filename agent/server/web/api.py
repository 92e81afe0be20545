"""The API under /api/v1 for looking: cameras, events, and their original bytes (docs/api.md)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from agent import __version__
from agent.clock import Clock
from agent.frame import Codec, ItemType
from agent.media import clip
from agent.schema.read import MismatchError, read
from agent.server.accounts import Accounts, Who
from agent.server.cameras import Camera, Cameras
from agent.server.catalog import Catalog, StoredEvent, StoredItem
from agent.server.web import shapes
from agent.server.web.access import Access, Invalid, Routes, asking, in_time
from agent.server.web.openapi import Op, describe

ITEM = re.compile(r"([0-9a-f]{16})-([1-9][0-9]{0,18})\Z")
FOREVER = "private, max-age=31536000, immutable"
ROOT = "/api/v1"
LIMIT = {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}
JPEG, ITEM_PATH, EVENT_ID = "image/jpeg", r"[0-9a-f]{16}-[1-9][0-9]{0,18}", r"[0-9]{1,15}"


class Api:
    """`notes` is what the server's host wants the page to say, as it is when the page asks; `cookie`: the session's."""

    def __init__(
        self,
        cameras: Cameras,
        accounts: Accounts,
        catalog: Catalog,
        clock: Clock,
        notes: Mapping[str, Any],
        cookie: str,
    ) -> None:
        self._cookie = cookie
        self._cameras = cameras
        self._clock = clock
        self._accounts = accounts
        self._catalog = catalog
        self._notes = notes

    def add_to(self, routes: Routes) -> None:
        camera = ROOT + "/cameras/{camera}"
        item = camera + f"/items/{{item:{ITEM_PATH}}}"
        event = ROOT + f"/events/{{id:{EVENT_ID}}}"
        page = {
            "camera": {"type": "string"},
            "limit": LIMIT,
            "before": {"type": "string", "pattern": r"^-?[0-9]{1,19}-[0-9]{1,18}$"},
        }
        see = Access.VIEWER

        def get(path: str, handler: Any, summary: str, **op: Any) -> None:
            routes.add("GET", path, see, handler, Op(summary, **op))

        async def description(request: web.Request) -> web.Response:
            return web.json_response(describe(routes.declared.values(), __version__, self._cookie))

        routes.add("GET", ROOT + "/openapi.json", Access.OPEN, description)
        get(ROOT + "/about", self._about, "The server, and who asks", answer=shapes.AboutJson)
        get(ROOT + "/cameras", self._list, "The cameras that may be seen", answer=shapes.CamerasJson)
        get(camera, self.show, "One camera", answer=shapes.CameraDetailJson)
        get(
            camera + "/stills",
            self._stills,
            "Single pictures, newest first",
            answer=shapes.StillsJson,
            query={
                "limit": LIMIT,
                "before": {"type": "string", "pattern": r"^-?[0-9]{1,19}-[0-9a-f]{16}-[0-9]{1,19}$"},
            },
        )
        get(camera + "/latest.jpg", self._latest, "The newest picture", media=(JPEG,))
        kinds = tuple(kind.media_type for kind in ItemType)
        get(item, self._item, "An item's original bytes (ETag, Range)", media=kinds, ranges=True)
        get(item + "/frames", self._frames, "A clip's frames", answer=shapes.FramesJson)
        get(
            item + r"/frames/{n:[0-9]{1,6}}.jpg",
            self._frame,
            "One frame as the camera sent it",
            media=(JPEG,),
            ranges=True,
        )
        get(ROOT + "/events", self._events, "Events, newest first", answer=shapes.EventsJson, query=page)
        get(event, self._event, "One event with its items", answer=shapes.EventDetailJson)
        get(event + "/thumb.jpg", self._thumb, "A picture of the event", media=(JPEG,), ranges=True)

    async def _about(self, request: web.Request) -> web.Response:
        who = asking(request)
        events, stored = await self._catalog.totals(self.visible(who))
        account = self._accounts.get(who.account)
        body = {"version": __version__, "role": who.role, "events": events, "bytes": stored}
        return web.json_response(body | {"account": account.name if account else "", "notes": dict(self._notes)})

    def visible(self, who: Who) -> list[str]:
        return [c.name for c in self._cameras.all() if self._accounts.may(who, c)]

    def _camera_json(self, camera: Camera, who: Who) -> dict[str, Any]:
        return self._cameras.as_json(camera) | {"mine": self._accounts.may(who, camera, manage=True)}

    async def _list(self, request: web.Request) -> web.Response:
        who = asking(request)
        seen = [self._camera_json(c, who) for c in self._cameras.all() if self._accounts.may(who, c)]
        return web.json_response({"cameras": seen})

    async def show(self, request: web.Request) -> web.Response:
        who, camera = asking(request), self._camera(request)
        mine = self._accounts.may(who, camera, manage=True)
        stored = await self._catalog.stored(camera.name, camera.settings.quota_bytes)
        body = self._camera_json(camera, who) | {"stored": stored}
        body |= {"settings": camera.settings.as_json() if mine else None, "login": camera.login if mine else None}
        body["pull_error"] = camera.pull_error or None if mine else None
        return web.json_response(body)

    async def _latest(self, request: web.Request) -> web.Response:
        frame = await self._camera(request).picture(self._clock.monotonic_ns())
        if frame is None or frame.codec is not Codec.JPEG:
            raise web.HTTPNotFound(text="this camera sends films: see live.mp4" if frame else "no picture yet")
        return web.Response(body=frame.data, content_type=JPEG, headers={"X-Time-Ms": f"{frame.wall_ns / 1e6:.3f}"})

    async def _stills(self, request: web.Request) -> web.Response:
        limit, name = _limit(request), self._camera(request).name
        try:
            found = await self._catalog.stills(name, limit, request.query.get("before"))
        except ValueError as e:
            raise web.HTTPBadRequest(text=str(e)) from None
        more = found[-1].cursor if len(found) == limit else None
        return web.json_response({"stills": [item_json(i) for i in found], "next": more})

    async def _events(self, request: web.Request) -> web.Response:
        limit, seen = _limit(request), self.visible(asking(request))
        if (one := request.query.get("camera")) is not None:
            seen = [name for name in seen if name == one]
        try:
            found = await self._catalog.events(seen, limit, request.query.get("before"))
        except ValueError as e:
            raise web.HTTPBadRequest(text=str(e)) from None
        more = found[-1].cursor if len(found) == limit else None
        return web.json_response({"events": [e.as_json() for e in found], "next": more})

    async def _event(self, request: web.Request) -> web.Response:
        event = await self.stored_event(request)
        items = await self._catalog.clips(event)
        before = await self._catalog.lead(items[0]) if items and items[0].leans else []
        clips = [item_json(i, _group(i, before + items[:n])) for n, i in enumerate(items)]
        return web.json_response(event.as_json() | {"items": clips})

    async def _thumb(self, request: web.Request) -> web.Response:
        data = await self._catalog.thumb(await self.stored_event(request))
        if data is None:
            raise web.HTTPNotFound(text="no picture of this event")
        # The address in the event names the picture; the bare one may lead to another while the event goes on.
        return media(
            request, data, hashlib.sha256(data).hexdigest(), JPEG, cache=FOREVER if "v" in request.query else "no-cache"
        )

    async def _item(self, request: web.Request) -> web.StreamResponse:
        item = await self._stored_item(request)
        data = await self._content(item)
        name = f"{item.camera}-{item.spool}-{item.path.name}"
        return media(request, data, item.sha256.hex(), item.type.media_type, name)

    async def _frames(self, request: web.Request) -> web.Response:
        item, _, entries = await self._clip(request)
        frames = [
            {
                "url": f"{item.url}/frames/{n}.jpg",
                "index": e.index,
                "wall_ms": e.wall_ns / 1e6,
                "wall_ns": e.wall_ns,
                "codec": e.codec.name.lower(),
                "preroll": bool(e.flags & clip.PREROLL),
                "truncated": bool(e.flags & clip.TRUNCATED),
                "start": e.start,
                "bytes": e.length,
            }
            for n, e in enumerate(entries)
        ]
        return web.json_response({"frames": frames})

    async def _frame(self, request: web.Request) -> web.Response:
        item, data, entries = await self._clip(request)
        n = int(request.match_info["n"])
        if n >= len(entries) or entries[n].codec is not Codec.JPEG:
            raise web.HTTPNotFound(text="no such picture")
        picture = data[entries[n].start : entries[n].start + entries[n].length]
        return media(request, picture, f"{item.sha256.hex()[:32]}-{n}", JPEG)

    def _camera(self, request: web.Request) -> Camera:
        camera = self._cameras.get(request.match_info["camera"])
        if camera is None:
            raise web.HTTPNotFound(text="no such camera")
        return camera

    async def stored_event(self, request: web.Request, manage: bool = False) -> StoredEvent:
        """The event that the path names, if whoever asks may see it (or `manage` it)."""
        event = await self._catalog.event(int(request.match_info["id"]))
        camera = self._cameras.get(event.camera) if event else None
        if event is None or camera is None or not self._accounts.may(asking(request), camera):
            raise web.HTTPNotFound(text="no such event")
        if manage and not self._accounts.may(asking(request), camera, manage=True):
            raise web.HTTPForbidden(text="only the camera's owner may")
        return event

    async def _stored_item(self, request: web.Request) -> StoredItem:
        match = ITEM.match(request.match_info["item"])
        item = None
        if match and int(match[2]) < 2**63:
            item = await self._catalog.item(self._camera(request).name, match[1], int(match[2]))
        if item is None:
            raise web.HTTPNotFound(text="no such item")
        return item

    async def _clip(self, request: web.Request) -> tuple[StoredItem, bytes, list[clip.Entry]]:
        item = await self._stored_item(request)
        if item.type is not ItemType.CLIP:
            raise web.HTTPNotFound(text="not a clip")
        data = await self._content(item)
        return item, data, list(clip.entries(data))

    async def _content(self, item: StoredItem) -> bytes:
        data = await self._catalog.content(item)
        if data is None:
            raise web.HTTPNotFound(text="deleted a moment ago")
        return data


def _group(item: StoredItem, before: list[StoredItem]) -> int | None:
    """`seq` of the item that holds the keyframe which this one leans on."""
    if not item.leans or item.key_index is None:
        return item.seq
    return next((b.seq for b in reversed(before) if b.holds(item.key_index)), None)


def item_json(item: StoredItem, group: int | None = None) -> dict[str, Any]:
    """What the API says of an item; `sha256` is of its bytes as they came."""
    return {
        "url": item.url,
        "seq": item.seq,
        "type": item.type.name.lower(),
        "event": item.event,
        "wall_ms": item.wall_ns / 1e6,
        "wall_ns": item.wall_ns,
        "bytes": item.bytes,
        "sha256": item.sha256.hex(),
        "codec": item.codec.name.lower(),
        "keyframe": not item.leans,
        "group": group if item.leans else item.seq,
    }


def media(
    request: web.Request, data: bytes, etag: str, media_type: str, name: str = "", cache: str = FOREVER
) -> web.Response:
    """Original bytes with ETag, and as much of them as a Range asks for (RFC 9110, one range)."""
    headers = {"Cache-Control": cache} | ({"Content-Disposition": f'inline; filename="{name}"'} if name else {})
    status, told, start, stop = _part(request, etag, len(data), headers)
    if status == 304:
        return web.Response(status=304, headers=told)
    return web.Response(status=status, body=data[start:stop], content_type=media_type, headers=told)


def begun(
    request: web.Request, etag: str, size: int, headers: Mapping[str, str]
) -> tuple[web.StreamResponse, int, int]:
    """An answer of so many bytes in all, as far as its head, and from where to where its body goes; none of a 304."""
    status, told, start, stop = _part(request, etag, size, headers)
    response = web.StreamResponse(status=status, headers=told)
    if status != 304:
        response.content_length = stop - start
    return response, start, stop


def _part(
    request: web.Request, etag: str, size: int, headers: Mapping[str, str]
) -> tuple[int, dict[str, str], int, int]:
    """Status, head, and from where to where the body goes: 304 and nothing, 206 and a part, or 200 and the whole."""
    told = {**headers, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
    if any(e.value in (etag, "*") for e in request.if_none_match or ()):
        return 304, told, 0, 0
    start, stop = wanted(request, etag, size)
    if (start, stop) == (0, size):
        return 200, told, start, stop
    return 206, told | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}, start, stop


def wanted(request: web.Request, etag: str, size: int) -> tuple[int, int]:
    """What a Range header asks for, as start and end; the whole when it asks for nothing that we can give."""
    condition = request.headers.get("If-Range")
    if condition is not None and condition.strip() != f'"{etag}"':
        return 0, size
    try:
        asked = request.http_range
    except ValueError:
        return 0, size
    start, stop, _ = asked.indices(size)
    if start >= stop and "Range" in request.headers:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return start, stop


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", "50")
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= 500:
        raise web.HTTPBadRequest(text="limit must be 1 to 500")
    return int(text)


async def body(request: web.Request, shape: Any) -> Any:
    """The request's JSON as an instance of `shape`; raises a 400 that says where it is wrong."""
    try:
        return read(shape, json.loads(await in_time(request.read())))
    except MismatchError as e:
        errors = [{"pointer": "".join(f"/{p}" for p in m.where), "detail": m.text} for m in e.found[:20]]
    except (ValueError, RecursionError):
        errors = [{"pointer": "", "detail": "input should be JSON"}]
    raise Invalid(errors)
