"""An event of JPEGs as one file that ordinary players open: MJPEG in AVI, none of the pictures coded anew."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web

from agent.frame import Codec
from agent.media import aviwriter, clip, jpeg
from agent.server.catalog import Catalog, StoredItem
from agent.server.web.access import Access, Routes
from agent.server.web.api import EVENT_ID, ROOT, Api, begun
from agent.server.web.films import MAY_GROW, cut, written
from agent.server.web.openapi import Op

AVI = "video/x-msvideo"
BLOCK_BYTES = 64 * 1024

Picture = tuple[StoredItem, clip.Entry]


class Avi:
    """`GET /api/v1/events/{id}/event.avi`. What the event has by then is read twice, an item at a time."""

    def __init__(self, api: Api, catalog: Catalog) -> None:
        self._api = api
        self._catalog = catalog

    def add_to(self, routes: Routes) -> None:
        op = Op("An event of JPEGs as a film for players (ETag, Range)", media=(AVI,), ranges=True)
        routes.add("GET", ROOT + f"/events/{{id:{EVENT_ID}}}/event.avi", Access.VIEWER, self._event, op)

    async def _event(self, request: web.Request) -> web.StreamResponse:
        event = await self._api.stored_event(request)
        pictures, size = await self._pictures([i for i in await self._catalog.clips(event) if i.codec is Codec.JPEG])
        if not pictures:
            raise web.HTTPNotFound(text="this event has no JPEGs; one of H.264 or H.265 is event.mp4")
        parts = aviwriter.parts([e.wall_ns for _, e in pictures], [e.length for _, e in pictures], *size)
        name = f"{event.camera}-{event.number}.avi"
        headers = {**MAY_GROW, "Content-Type": AVI, "Content-Disposition": f'attachment; filename="{name}"'}
        whole = sum(len(p) if isinstance(p, bytes) else pictures[p][1].length for p in parts)
        response, start, stop = begun(request, _etag(parts, pictures), whole, headers)
        await response.prepare(request)
        if request.method == "HEAD" or start == stop:
            return response
        try:
            async for block in self._blocks(parts, pictures, start, stop):
                if not await written(request, response, block):
                    break
        except FileNotFoundError:
            cut(request)
        return response

    async def _pictures(self, items: list[StoredItem]) -> tuple[list[Picture], tuple[int, int]]:
        """All pictures of the items that are there, and width and height of the first one."""
        found: list[Picture] = []
        size = (0, 0)
        for item in items:
            data = await self._catalog.content(item) or b""
            with suppress(ValueError):  # what follows is rotten
                for entry in clip.entries(data):
                    if not found:
                        size = _size(data[entry.start : entry.start + entry.length])
                    found.append((item, entry))
        return found, size

    async def _blocks(
        self, parts: list[bytes | int], pictures: list[Picture], start: int, stop: int
    ) -> AsyncIterator[bytes]:
        """The file from `start` to `stop`. Raises FileNotFoundError when retention was faster."""
        block, at, data = bytearray(), None, b""
        end = 0
        for part in parts:
            begin, end = end, end + (len(part) if isinstance(part, bytes) else pictures[part][1].length)
            if end <= start or begin >= stop:
                continue
            if isinstance(part, int):
                item, e = pictures[part]
                if item is not at:
                    at, data = item, await self._catalog.content(item) or b""
                part = data[e.start : e.start + e.length]
                if len(part) < e.length:
                    raise FileNotFoundError
            block += part[max(0, start - begin) : stop - begin]
            if len(block) >= BLOCK_BYTES:
                yield bytes(block)
                block.clear()
        yield bytes(block)


def _etag(parts: list[bytes | int], pictures: list[Picture]) -> str:
    """Of what is around the pictures, and of the items that have them."""
    names = hashlib.sha256(b"".join(part for part in parts if isinstance(part, bytes)))
    for sha256 in dict.fromkeys(item.sha256 for item, _ in pictures):
        names.update(sha256)
    return names.hexdigest()[:32]


def _size(picture: bytes) -> tuple[int, int]:
    try:
        info = jpeg.inspect(picture)
    except ValueError:
        return 0, 0
    return info.width, info.height
