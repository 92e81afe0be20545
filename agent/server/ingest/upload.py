"""The way in for cameras that upload by HTTP: single pictures, forms, and endless MJPEG."""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aiohttp import BadContentDispositionHeader, BadContentDispositionParam, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from agent.dispatch.http import FRAMING
from agent.media.multipart import NoRoom, Splitter
from agent.server.archive import Outcome
from agent.server.cameras import DELETED, Camera, Cameras
from agent.server.ingest.admission import GONE, admit, while_there
from agent.server.ingest.desk import Desk
from agent.server.ingest.pictures import MAX_PICTURE_BYTES, NotAPicture
from agent.server.ingest.presence import Presence
from agent.server.ingest.room import Share
from agent.server.web import shapes
from agent.server.web.access import Access, Routes
from agent.server.web.openapi import Op

MAX_PARTS = 32
BODY_S = 20.0
LEAST_BYTES = 20_000
STALL_S = 30.0
REFUSED = (408, 411, 415, 429, 507)
AT_ONCE = 32
for strange in (BadContentDispositionHeader, BadContentDispositionParam):
    # What uploads call their files would stand on stderr, and be remembered for as long as the program runs.
    warnings.simplefilter("ignore", strange)
STATUS = {Outcome.FULL: 507, Outcome.GONE: 410, Outcome.TYPE: 415}


class Upload:
    """`PUT|POST /v1/cam/{camera}/picture[/any-name]` and `/v1/cam/{camera}/mjpeg`, with the camera's own login."""

    def __init__(self, cameras: Cameras, desk: Desk, presence: Presence) -> None:
        self._cameras = cameras
        self._desk = desk
        self._presence = presence
        self._running: Counter[str] = Counter()

    def add_to(self, routes: Routes) -> None:
        camera = "/v1/cam/{camera}"
        form, stream = ("image/jpeg", "multipart/form-data"), ("multipart/x-mixed-replace",)
        one = Op("Upload a picture, or a form of some", shapes.UploadedJson, 201, takes=form, errors=REFUSED)
        many = Op("Push MJPEG; endless", shapes.PushedJson, takes=stream, errors=REFUSED)
        for method in ("PUT", "POST"):
            routes.add(method, camera + "/picture", Access.TOKEN, self._picture, one)
            routes.add(method, camera + "/picture/{name:.*}", Access.TOKEN, self._picture)
            routes.add(method, camera + "/mjpeg", Access.TOKEN, self._mjpeg, many)

    async def _picture(self, request: web.Request) -> web.StreamResponse:
        camera = await admit(self._cameras, request)
        kind = request.content_type.lower()
        if kind == "multipart/x-mixed-replace":
            return await self._stream(request, camera)
        _check_head(request)
        self._presence.touch(camera)
        stored = 0
        session = _Session(self._cameras, camera)
        async with while_there(self._cameras, camera):
            with self._share(camera) as share, session:
                async for data in _pictures(request, kind, share):
                    outcome = await self._store(camera, data)
                    if session.ended:
                        raise web.HTTPGone(text=GONE)
                    if not outcome.settled:
                        status = STATUS.get(outcome, 500)
                        raise _problem(status, "the store is full" if status == 507 else f"not stored: {outcome.value}")
                    stored += 1
        if not stored:
            raise web.HTTPBadRequest(text="no picture in the request")
        return web.json_response({"stored": stored}, status=201)

    async def _store(self, camera: Camera, data: bytes) -> Outcome:
        pictures = self._desk.of(camera)
        if not pictures.allowed():
            raise _crowded("too many pictures at once")
        try:
            return (await pictures.upload(data))[0]
        except NotAPicture as e:
            raise web.HTTPUnsupportedMediaType(text=str(e)) from None

    @contextmanager
    def _share(self, camera: Camera) -> Iterator[Share]:
        """A share for one more upload of this camera."""
        if self._running[camera.name] >= AT_ONCE:
            raise _crowded(f"more than {AT_ONCE} uploads of this camera at once")
        self._running[camera.name] += 1
        try:
            with self._desk.room.share(camera) as share:
                yield share
        finally:
            self._running[camera.name] -= 1
            if not self._running[camera.name]:
                del self._running[camera.name]

    async def _mjpeg(self, request: web.Request) -> web.StreamResponse:
        return await self._stream(request, await admit(self._cameras, request))

    async def _stream(self, request: web.Request, camera: Camera) -> web.StreamResponse:
        """Pictures as they come, for as long as they do: each 30 s there is one, or 20 kB of a big one."""
        _check_head(request)
        desk, first = self._desk.of(camera), True
        now = asyncio.get_running_loop().time
        until_s, came = now() + STALL_S, 0
        with self._share(camera) as share, _Session(self._cameras, camera) as session:
            splitter = Splitter(may_grow=share.grow)
            try:
                while data := await session.first(_until(request.content.readany(), until_s)):
                    came += len(data)
                    pictures = splitter.feed(data)
                    if pictures or came >= LEAST_BYTES:
                        until_s, came = now() + STALL_S, 0
                    for picture in pictures:
                        desk.stream(picture, first)
                        first = False
                for picture in splitter.close():
                    desk.stream(picture, first)
            except NoRoom:
                raise _crowded("the uploads of this account hold too much at once") from None
            except ValueError as e:
                raise web.HTTPUnsupportedMediaType(text=str(e)) from None
            finally:
                splitter.free()
                desk.end_run()
                await desk.settled()
        if session.ended:
            raise web.HTTPGone(text=GONE)
        if not splitter.frames and not session.told:
            raise web.HTTPUnsupportedMediaType(text="no whole JPEG was in the stream")
        return web.json_response({"pictures": splitter.frames})


class _Session:
    """An upload in progress; `first` waits for something that the camera's end cuts short."""

    def __init__(self, cameras: Cameras, camera: Camera) -> None:
        self._cameras = cameras
        self._camera = camera
        self._told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def told(self) -> bool:
        """Whether it was ended from here."""
        return self._told.done()

    @property
    def ended(self) -> bool:
        return self.told and self._told.result() == DELETED

    def _end(self, code: int, reason: str) -> None:
        if not self._told.done():
            self._told.set_result(code)

    async def first(self, work: Any) -> bytes:
        """What the work gives; b"" when the session was ended first."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, self._told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._told.done():
            return b""
        data: bytes = task.result()
        return data

    def __enter__(self) -> _Session:
        self._cameras.came(self._camera, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        self._cameras.went(self._camera, self._end)


def _check_head(request: web.Request) -> None:
    if request.content_length is None and "Transfer-Encoding" not in request.headers:
        raise web.HTTPLengthRequired(text=FRAMING)
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise web.HTTPUnsupportedMediaType(text="send the picture as it is, without Content-Encoding")


async def _pictures(request: web.Request, kind: str, share: Share) -> AsyncIterator[bytes]:
    """The picture of a plain body, or the files of a form."""
    if (request.content_length or 0) > MAX_PICTURE_BYTES:
        raise web.HTTPRequestEntityTooLarge(MAX_PICTURE_BYTES, request.content_length or 0)
    if not kind.startswith("multipart/"):
        yield await _read(request.content, share)
        return
    try:
        reader = await request.multipart()
        for _ in range(MAX_PARTS):
            part = await _within(reader.next(), BODY_S)
            if part is None:
                return
            if not hasattr(part, "read_chunk"):
                raise ValueError("a form within a form")
            if _is_file(part.headers):
                yield await _read(part, share)
            else:
                await _within(part.release(), BODY_S)
    except (ValueError, RuntimeError, LookupError, AssertionError, TypeError, HttpProcessingError) as e:
        why = "a line in it is too long" if isinstance(e, LineTooLong) else " ".join(str(e).split())[:100]
        raise web.HTTPBadRequest(text=f"the form cannot be read: {why}") from None
    raise web.HTTPBadRequest(text=f"more than {MAX_PARTS} parts")


def _is_file(headers: Mapping[str, str]) -> bool:
    """Whether a part of a form brings a file, which has a name; what the name is concerns nobody."""
    named = "filename" in headers.get("Content-Disposition", "").lower()
    return named or headers.get("Content-Type", "").lower().startswith("image/")


async def _read(source: Any, share: Share) -> bytes:
    """A whole body of at most 10 MiB that comes at 1 kB/s or faster."""
    data, loop = bytearray(), asyncio.get_running_loop()
    since_s, mark = loop.time(), 0
    while chunk := await _within(_chunk(source), BODY_S):
        data += chunk
        if len(data) > MAX_PICTURE_BYTES:
            raise web.HTTPRequestEntityTooLarge(MAX_PICTURE_BYTES, len(data))
        if not share.grow(len(data)):
            raise _crowded("the uploads of this account hold too much at once")
        if loop.time() - since_s > BODY_S:
            if len(data) - mark < LEAST_BYTES:
                raise web.HTTPRequestTimeout(text="the picture comes too slowly")
            since_s, mark = loop.time(), len(data)
    return bytes(data)


async def _chunk(source: Any) -> bytes:
    chunk: bytes = await (source.readany() if hasattr(source, "readany") else source.read_chunk(65536))
    return chunk


async def _within(work: Any, limit_s: float) -> Any:
    return await _until(work, asyncio.get_running_loop().time() + limit_s)


async def _until(work: Any, at_s: float) -> Any:
    try:
        async with asyncio.timeout_at(at_s):
            return await work
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="nothing came, or too slowly") from None


def _crowded(text: str) -> web.HTTPException:
    return web.HTTPTooManyRequests(text=text, headers={"Retry-After": "1"})


def _problem(status: int, text: str) -> web.HTTPException:
    kinds: dict[int, type[web.HTTPException]] = {
        507: web.HTTPInsufficientStorage,
        410: web.HTTPGone,
        415: web.HTTPUnsupportedMediaType,
    }
    return kinds.get(status, web.HTTPInternalServerError)(text=text)
