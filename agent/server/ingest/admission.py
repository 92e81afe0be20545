"""Who may upload to a camera: its token, as Bearer or as the password of Basic."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from agent.server.cameras import DELETED, Camera, Cameras

GONE = "this camera was deleted or has ended"
CHALLENGE = 'Basic realm="camera", charset="UTF-8", Bearer'


def token_of(authorization: str) -> str:
    """The upload token in an `Authorization` header, "" for none."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(rest.strip(), validate=True).decode("utf-8", "surrogateescape").partition(":")[2]
    except binascii.Error:
        return ""


@asynccontextmanager
async def while_there(cameras: Cameras, camera: Camera) -> AsyncIterator[None]:
    """What an upload waits for within ends when its camera is deleted: raises 410 then."""
    gone = web.HTTPGone(text=GONE)
    if camera.gone:
        raise gone
    try:
        async with asyncio.timeout(None) as limit:

            def end(code: int, reason: str) -> None:
                if code == DELETED and not limit.expired():
                    limit.reschedule(0)

            cameras.remember(camera, end)
            try:
                yield
            finally:
                cameras.forget(camera, end)
    except TimeoutError:
        if not limit.expired():
            raise
        raise gone from None


async def admit(cameras: Cameras, request: web.Request) -> Camera:
    """The camera of the path; raises the refusal: 401 bad token, 404 it is another camera's, 410 camera deleted."""
    name, token = request.match_info["camera"], token_of(request.headers.get("Authorization", ""))
    status = await cameras.check(name, token)
    if status == 401:
        raise web.HTTPUnauthorized(text="bad token", headers={"WWW-Authenticate": CHALLENGE})
    if status == 410:
        raise web.HTTPGone(text=GONE)
    camera = cameras.get(name)
    if status != 200 or camera is None:
        raise web.HTTPNotFound(text="no such camera")
    return camera
