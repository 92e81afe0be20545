"""The API under /api/v1: cameras, events, and their original bytes (docs/api.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from agent import __version__
from agent.errors import UsageError
from agent.frame import Codec, ItemType
from agent.media import clip
from agent.server.cameras import Camera, Cameras
from agent.server.catalog import Catalog, StoredEvent, StoredItem
from agent.server.web.access import Access, Routes

ITEM = re.compile(r"([0-9a-f]{16})-([1-9]\d{0,18})\Z")
FOREVER = "private, max-age=31536000, immutable"
ROOT = "/api/v1"


class Api:
    """`notes` is what the server's host wants the page to say."""

    def __init__(
        self,
        cameras: Cameras,
        catalog: Catalog,
        role: Callable[[web.Request], str | None],
        notes: Mapping[str, Any],
    ) -> None:
        self._cameras = cameras
        self._catalog = catalog
        self._role = role
        self._notes = dict(notes)

    def add_to(self, routes: Routes) -> None:
        camera = ROOT + "/cameras/{camera}"
        item = camera + "/items/{item}"
        routes.add("GET", ROOT + "/about", Access.VIEWER, self._about)
        routes.add("GET", ROOT + "/cameras", Access.VIEWER, self._list)
        routes.add("POST", ROOT + "/cameras", Access.OWNER, self._add)
        routes.add("GET", camera, Access.VIEWER, self._show)
        routes.add("DELETE", camera, Access.OWNER, self._delete)
        routes.add("GET", camera + "/stills", Access.VIEWER, self._stills)
        routes.add("GET", item, Access.VIEWER, self._item)
        routes.add("GET", item + "/frames", Access.VIEWER, self._frames)
        routes.add("GET", item + r"/frames/{n:\d{1,6}}.jpg", Access.VIEWER, self._frame)
        routes.add("GET", ROOT + "/events", Access.VIEWER, self._events)
        routes.add("GET", ROOT + r"/events/{id:\d{1,15}}", Access.VIEWER, self._event)
        routes.add("GET", ROOT + r"/events/{id:\d{1,15}}/thumb.jpg", Access.VIEWER, self._thumb)

    async def _about(self, request: web.Request) -> web.Response:
        events, stored = await self._catalog.totals()
        body = {"version": __version__, "role": self._role(request), "events": events, "bytes": stored}
        return web.json_response(body | {"notes": self._notes})

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response({"cameras": [c.as_json() for c in self._cameras.all()]})

    async def _add(self, request: web.Request) -> web.Response:
        name = (await _body(request)).get("name")
        if not isinstance(name, str):
            raise web.HTTPBadRequest(text='expected {"name": "…"}')
        if self._cameras.get(name) is not None:
            raise web.HTTPConflict(text=f"there is a camera '{name}' already")
        try:
            token = await self._cameras.add(name)
        except UsageError as e:
            raise web.HTTPBadRequest(text=str(e)) from None
        scheme = "wss" if request.secure else "ws"
        body = {"name": name, "token": token, "url": f"{scheme}://{request.host}", "path": f"/v1/cam/{name}/stream"}
        return web.json_response(body, status=201, headers={"Location": f"{ROOT}/cameras/{name}"})

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response(self._camera(request).as_json())

    async def _delete(self, request: web.Request) -> web.Response:
        await self._cameras.remove(self._camera(request).name)
        return web.Response(status=204)

    async def _stills(self, request: web.Request) -> web.Response:
        items = await self._catalog.stills(self._camera(request).name, _limit(request))
        return web.json_response({"stills": [item_json(i) for i in items]})

    async def _events(self, request: web.Request) -> web.Response:
        limit = _limit(request)
        try:
            found = await self._catalog.events(request.query.get("camera"), limit, request.query.get("before"))
        except ValueError as e:
            raise web.HTTPBadRequest(text=str(e)) from None
        more = found[-1].cursor if len(found) == limit else None
        return web.json_response({"events": [e.as_json() for e in found], "next": more})

    async def _event(self, request: web.Request) -> web.Response:
        event = await self._stored_event(request)
        clips = [item_json(i) for i in await self._catalog.clips(event)]
        return web.json_response(event.as_json() | {"items": clips})

    async def _thumb(self, request: web.Request) -> web.Response:
        data = await self._catalog.thumb(await self._stored_event(request))
        if data is None:
            raise web.HTTPNotFound(text="no picture of this event")
        return web.Response(body=data, content_type="image/jpeg", headers={"Cache-Control": FOREVER})

    async def _item(self, request: web.Request) -> web.Response:
        item = await self._stored_item(request)
        headers = _media_headers(item)
        if any(e.value == item.sha256.hex() for e in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        data = await self._content(item)
        return web.Response(body=data, content_type=item.type.media_type, headers=headers)

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
                "start": e.start,
                "bytes": e.length,
            }
            for n, e in enumerate(entries)
        ]
        return web.json_response({"frames": frames})

    async def _frame(self, request: web.Request) -> web.Response:
        _, data, entries = await self._clip(request)
        n = int(request.match_info["n"])
        if n >= len(entries) or entries[n].codec is not Codec.JPEG:
            raise web.HTTPNotFound(text="no such picture")
        picture = data[entries[n].start : entries[n].start + entries[n].length]
        return web.Response(body=picture, content_type="image/jpeg", headers={"Cache-Control": FOREVER})

    def _camera(self, request: web.Request) -> Camera:
        camera = self._cameras.get(request.match_info["camera"])
        if camera is None:
            raise web.HTTPNotFound(text="no such camera")
        return camera

    async def _stored_event(self, request: web.Request) -> StoredEvent:
        event = await self._catalog.event(int(request.match_info["id"]))
        if event is None:
            raise web.HTTPNotFound(text="no such event")
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


def item_json(item: StoredItem) -> dict[str, Any]:
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
    }


def _media_headers(item: StoredItem) -> dict[str, str]:
    name = f"{item.camera}-{item.spool}-{item.path.name}"
    return {
        "ETag": f'"{item.sha256.hex()}"',
        "Cache-Control": FOREVER,
        "Content-Disposition": f'inline; filename="{name}"',
    }


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", "50")
    if not re.fullmatch(r"\d{1,6}", text) or not 1 <= int(text) <= 500:
        raise web.HTTPBadRequest(text="limit must be 1 to 500")
    return int(text)


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.text())
    except (ValueError, RecursionError, LookupError):
        raise web.HTTPBadRequest(text="the body is not JSON") from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="the body is no JSON object")
    return body
