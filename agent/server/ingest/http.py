"""The way in over HTTP: one idempotent PUT for an item, in parts where it is big (docs/protocol.md)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import json
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from agent.dispatch.problem import PROBLEM, about
from agent.frame import Item, ItemType
from agent.media.wire import MAX_ITEM_BYTES
from agent.server.archive import SPOOL, Outcome
from agent.server.cameras import Camera, Cameras
from agent.server.digest import MAX_NS
from agent.server.ingest import Intake
from agent.server.ingest.admission import GONE, admit, while_there
from agent.server.ingest.parts import Key, Parts, TooMany
from agent.server.ingest.presence import Presence
from agent.server.ledger import MAX_SEQ
from agent.server.web.access import Access, Routes, in_time

log = logging.getLogger(__name__)

ROOT = "/v1/cam/{camera}"
ITEM = ROOT + "/item/{spool:[0-9a-f]{16}}-{seq:[0-9]{1,19}}"
IN_MEMORY_BYTES = 256 * 1024
AT_ONCE = 8
BIG_AT_ONCE = 2
SILENCE_S = 30.0
SLOWEST_BYTES = 1024  # within SILENCE_S; below it the body is given up
LATER_S = 10
TYPES = {t.name.lower(): t for t in ItemType} | {t.media_type: t for t in ItemType}

_STATUS = {
    Outcome.STORED: 201,
    Outcome.DUPLICATE: 200,
    Outcome.CONFLICT: 409,
    Outcome.DIGEST: 400,
    Outcome.TYPE: 415,
    Outcome.FULL: 507,
    Outcome.GONE: 410,
}
_TOLD = {
    Outcome.CONFLICT: "another content is stored under this name",
    Outcome.DIGEST: "the body is not what Repr-Digest says",
    Outcome.TYPE: "the body is not what its type says",
    Outcome.FULL: "the store is full or not writable",
    Outcome.GONE: GONE,
}


class Refused(Exception):
    """The answer to a request that is not done; `code` is for programs."""

    def __init__(self, status: int, code: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.code, self.more = status, code, more

    def response(self) -> web.Response:
        body = about(self.status, code=self.code, detail=str(self)) | self.more
        headers = {"Retry-After": str(LATER_S)} if self.status in (429, 503, 507) else {}
        return web.json_response(body, status=self.status, headers=headers, content_type=PROBLEM)


@dataclass(frozen=True, slots=True)
class Head:
    """What a request says of its item."""

    key: Key
    type: ItemType
    event: int
    wall_ns: int
    sha256: bytes
    length: int

    def item(self, payload: bytes) -> Item:
        k = self.key
        return Item(k.camera, k.spool, k.seq, self.type, self.event, self.wall_ns, payload, self.sha256)


class HttpIngest:
    """All requests that bring items. Everything is under the bounds above, for each camera."""

    def __init__(self, cameras: Cameras, intake: Intake, presence: Presence) -> None:
        self._cameras = cameras
        self._intake = intake
        self._parts = Parts(intake.archive.root / "parts")
        self._parts.sweep(started=True)
        self._presence = presence
        self._running: Counter[str] = Counter()
        self._big = asyncio.Semaphore(BIG_AT_ONCE)
        self._locks: dict[Key, asyncio.Lock] = {}
        self._asking: Counter[Key] = Counter()  # how many have a lock, or wait for it

    def add_to(self, routes: Routes) -> None:
        for method, path, handler in (
            ("PUT", ITEM, self._put),
            ("PATCH", ITEM, self._patch),
            ("HEAD", ITEM, self._head),
            ("POST", ROOT + "/dropped", self._dropped),
            ("GET", ROOT + "/ack", self._ack),
        ):
            routes.add(method, path, Access.TOKEN, self._guarded(handler))

    def _guarded(self, handler: Any) -> Any:
        async def run(request: web.Request) -> web.StreamResponse:
            camera = await admit(self._cameras, request)
            self._presence.touch(camera)
            if self._running[camera.name] >= AT_ONCE:
                return Refused(429, "busy", f"more than {AT_ONCE} requests of this camera at once").response()
            self._running[camera.name] += 1
            try:
                response: web.StreamResponse = await handler(request, camera)
                return response
            except Refused as e:
                return e.response()
            except web.HTTPGone:
                return Refused(410, Outcome.GONE.value, _TOLD[Outcome.GONE]).response()
            except ConnectionError:
                return Refused(400, "cut", "the body was cut off").response()  # nobody is there to read it
            except TooMany:
                return Refused(429, "busy", "too many unfinished uploads of this camera").response()
            except FileNotFoundError:
                if not camera.gone:
                    raise
                return Refused(410, Outcome.GONE.value, _TOLD[Outcome.GONE]).response()
            except OSError as e:
                if e.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.EMFILE):
                    raise
                log.warning("%s: an upload could not be kept: %s", camera.name, e)
                return Refused(507, "full", _TOLD[Outcome.FULL]).response()
            finally:
                self._running[camera.name] -= 1
                if not self._running[camera.name]:
                    del self._running[camera.name]
                if camera.gone and "spool" in request.match_info:
                    with suppress(Refused):
                        self._parts.forget(_key(request))

        return run

    async def _put(self, request: web.Request, camera: Camera) -> web.Response:
        head = _item_head(request)
        if head.length != request.content_length:
            raise Refused(400, "length", "Upload-Length is not the Content-Length of a whole item")
        await self._check_room(head.key, head.length)
        if head.length <= IN_MEMORY_BYTES:
            payload = bytearray()
            async for chunk in self._body(request, camera):
                payload += chunk
            return await self._finish(camera, head, bytes(payload))
        path = await self._parts.whole(head.key, self._body(request, camera))
        try:
            async with self._big:
                return await self._finish(camera, head, await asyncio.to_thread(path.read_bytes))
        finally:
            path.unlink(missing_ok=True)

    async def _patch(self, request: web.Request, camera: Camera) -> web.Response:
        head = _item_head(request)
        offset, complete = _number(request, "Upload-Offset", MAX_ITEM_BYTES), _flag(request, "Upload-Complete")
        end = offset + (request.content_length or 0)
        if end > head.length or (complete and end != head.length):
            raise Refused(400, "length", f"a part up to {end} does not fit an item of {head.length} bytes")
        async with self._alone(head.key):
            if (stored := await self._stored(head.key)) is not None:
                same = stored == head.sha256
                return await self._answer(camera, head.key, Outcome.DUPLICATE if same else Outcome.CONFLICT)
            if (have := self._parts.size(head.key)) != offset:
                raise Refused(409, "offset", f"{have} bytes are here", **{"expected-offset": have})
            await self._check_room(head.key, head.length - offset)
            await self._append(camera, head.key, request)
            if camera.gone:
                raise web.HTTPGone
            if not complete:
                return web.Response(status=204, headers={"Upload-Complete": "?0", "Upload-Offset": str(end)})
            return await self._finish_parts(camera, head)

    async def _finish_parts(self, camera: Camera, head: Head) -> web.Response:
        try:
            async with self._big:
                payload = await asyncio.to_thread(self._parts.path(head.key).read_bytes)
                response = await self._finish(camera, head, payload)
        except FileNotFoundError:  # it waited too long beside too many others
            raise Refused(409, "offset", "0 bytes are here", **{"expected-offset": 0}) from None
        except Refused as e:
            if e.code != Outcome.FULL.value:
                self._parts.drop(head.key)
            raise
        self._parts.drop(head.key)
        return response

    async def _append(self, camera: Camera, key: Key, request: web.Request) -> None:
        try:
            await self._parts.append(key, self._body(request, camera))
        except OSError as e:
            if e.errno == errno.ENOSPC:
                self._parts.drop(key)  # its space is worth more to others than the resumption to this one
            raise

    async def _head(self, request: web.Request, camera: Camera) -> web.Response:
        key = _key(request)
        if (sha256 := await self._stored(key)) is not None:
            return web.Response(headers={"Upload-Complete": "?1", "Repr-Digest": repr_digest(sha256)})
        if have := self._parts.size(key):
            return web.Response(headers={"Upload-Complete": "?0", "Upload-Offset": str(have)})
        raise Refused(404, "none", "nothing of this item is here")

    async def _body(self, request: web.Request, camera: Camera) -> AsyncIterator[bytes]:
        """As it comes; raises Refused when it comes too slowly, ConnectionError when it is cut off, and HTTPGone."""
        now = asyncio.get_running_loop().time
        got, left, deadline = 0, request.content_length or 0, now() + SILENCE_S
        while left:
            try:
                async with while_there(self._cameras, camera), asyncio.timeout_at(deadline):
                    chunk = await request.content.readany()
            except TimeoutError:
                raise Refused(408, "slow", "the body comes too slowly") from None
            if not chunk:
                raise ConnectionResetError("the body is cut off")
            got, left = got + len(chunk), left - len(chunk)
            if got >= SLOWEST_BYTES:
                got, deadline = 0, now() + SILENCE_S
            yield chunk

    async def _dropped(self, request: web.Request, camera: Camera) -> web.Response:
        try:
            body = json.loads(await in_time(request.read()))
            spool, first, last, why = body["spool"], body["first"], body["last"], body.get("why")
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            raise Refused(400, "json", "expected a JSON object with spool, first, last, why") from None
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (first, last))
        if not (isinstance(spool, str) and SPOOL.match(spool) and whole and 1 <= first <= last <= MAX_SEQ):
            raise Refused(400, "range", "dropped names no range of a spool")
        await self._intake.declare(camera, spool, first, last, why)
        return await self._acks(camera, spool)

    async def _ack(self, request: web.Request, camera: Camera) -> web.Response:
        spool = request.query.get("spool", "")
        if not SPOOL.match(spool):
            raise Refused(400, "spool", "?spool= is not 16 hex digits")
        return await self._acks(camera, spool)

    async def _acks(self, camera: Camera, spool: str) -> web.Response:
        if (standing := await self._intake.standing(camera.name, spool)) is None:
            raise web.HTTPGone
        ack, have, camera_id = standing
        return web.json_response({"ack": ack, "have": have, "camera_id": camera_id})

    async def _stored(self, key: Key) -> bytes | None:
        return await self._intake.archive.digest(key.camera, key.spool, key.seq)

    async def _finish(self, camera: Camera, head: Head, payload: bytes) -> web.Response:
        return await self._answer(camera, head.key, await self._intake.take(camera, head.item(payload)))

    async def _answer(self, camera: Camera, key: Key, outcome: Outcome) -> web.Response:
        if not outcome.settled:
            raise Refused(_STATUS[outcome], outcome.value, _TOLD[outcome])
        ack, _ = await self._intake.archive.acks(camera.name, key.spool)
        return web.json_response({"ack": ack, "dup": outcome is Outcome.DUPLICATE}, status=_STATUS[outcome])

    async def _check_room(self, key: Key, length: int) -> None:
        """Before anything is read; what is stored already needs no room."""
        if not self._intake.archive.room(length) and await self._stored(key) is None:
            raise Refused(507, "full", _TOLD[Outcome.FULL])

    @asynccontextmanager
    async def _alone(self, key: Key) -> AsyncIterator[None]:
        """One part of an item at a time."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._asking[key] += 1
        try:
            async with lock:
                yield
        finally:
            self._asking[key] -= 1
            if not self._asking[key]:
                del self._asking[key], self._locks[key]


def repr_digest(sha256: bytes) -> str:
    """The value of `Repr-Digest` (RFC 9530): a dictionary with a byte sequence (RFC 8941)."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


def _sha256(value: str) -> bytes:
    """The SHA-256 in a `Repr-Digest` header, which may name others too; raises Refused."""
    match = re.search(r"(?:^|,)\s*sha-256\s*=\s*:([A-Za-z0-9+/=]{44}):", value)
    try:
        return base64.b64decode(match[1], validate=True) if match else b""
    except binascii.Error:
        return b""


def _item_head(request: web.Request) -> Head:
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Refused(415, "encoding", "Content-Encoding is not taken")
    if request.content_length is None:
        raise Refused(411, "length", "Content-Length is missing")
    key = _key(request)
    type_ = TYPES.get(request.headers.get("Item-Type", "") or request.content_type)
    if type_ is None:
        raise Refused(415, "type", "Item-Type is not still, clip or event")
    sha256 = _sha256(request.headers.get("Repr-Digest", ""))
    if len(sha256) != 32:
        raise Refused(400, "digest", "Repr-Digest with a sha-256 is missing")
    length = _number(request, "Upload-Length", 10**18, default=request.content_length)
    if length > MAX_ITEM_BYTES:
        raise Refused(413, "size", f"an item has at most {MAX_ITEM_BYTES} bytes")
    event = _number(request, "Item-Event", 2**32 - 1, default=0)
    return Head(key, type_, event, _number(request, "Item-Wall-Ns", MAX_NS, default=0), sha256, length)


def _key(request: web.Request) -> Key:
    info = request.match_info
    seq = int(info["seq"])
    if not 1 <= seq <= MAX_SEQ or info["seq"].startswith("0"):
        raise Refused(400, "seq", "an item's number is 1, 2, 3…")
    return Key(info["camera"], info["spool"], seq)


def _number(request: web.Request, name: str, highest: int, default: int | None = None) -> int:
    text = request.headers.get(name)
    if text is None and default is not None:
        return default
    if text is None or not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > highest:
        raise Refused(400, "header", f"{name} is missing or no number up to {highest}")
    return int(text)


def _flag(request: web.Request, name: str) -> bool:
    text = request.headers.get(name, "")
    if text not in ("?0", "?1"):
        raise Refused(400, "header", f"{name} is not ?0 or ?1")
    return text == "?1"
