"""Who may call what, from where; what every answer carries."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Awaitable, Callable
from enum import Enum
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Roles = Callable[[web.Request], str | None]

UPLINK = "/v1/"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer browsers send `Origin: null` with a form
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Access(Enum):
    """What a route asks for: nothing, an upload token (checked by the route), a viewer, the owner."""

    OPEN = "open"
    TOKEN = "token"
    VIEWER = "viewer"
    OWNER = "owner"

    def admits(self, role: str | None) -> bool:
        if self is Access.VIEWER:
            return role in ("viewer", "owner")
        return self is not Access.OWNER or role == "owner"


class Routes:
    """Adds routes, each with its permission; there is no other way in."""

    def __init__(self, app: web.Application, role: Roles) -> None:
        self._app = app
        self._role = role
        self.declared: dict[tuple[str, str], Access] = {}

    def add(self, method: str, path: str, access: Access, handler: Handler) -> None:
        async def guarded(request: web.Request) -> web.StreamResponse:
            role = self._role(request)
            if access.admits(role):
                return await handler(request)
            if role is None and not is_api(request) and request.method in SAFE_METHODS:
                raise web.HTTPSeeOther("/login")
            raise web.HTTPForbidden(text="only the owner may") if role else web.HTTPUnauthorized(text="log in first")

        self.declared[method, path] = access
        if method == "GET":
            self._app.router.add_get(path, guarded, allow_head=True)
        else:
            self._app.router.add_route(method, path, guarded)


def is_api(request: web.Request) -> bool:
    return request.path.startswith(("/api/", UPLINK))


class Names:
    """The names that this server answers to: addresses, this machine's name, what the owner configured.

    A foreign name that was pointed at our address (DNS rebinding) is none of them.
    """

    def __init__(self, public_url: str | None, host: str) -> None:
        own = socket.gethostname().lower()
        self._names = {"localhost", own, own.partition(".")[0], own.partition(".")[0] + ".local", host.lower()}
        if public_url and (name := urlsplit(public_url).hostname):
            self._names.add(name)

    def known(self, host: str) -> bool:
        try:
            name = urlsplit("//" + host).hostname or ""
        except ValueError:
            return False
        return name.rstrip(".") in self._names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def check_origin(request: web.Request, names: Names) -> None:
    """Raise unless the request is for us and, where it could change or read something, from our own page."""
    if request.path.startswith(UPLINK):
        return  # its token is not a browser's to send
    if not names.known(request.host):
        raise web.HTTPMisdirectedRequest(text="this server does not answer to that name; set public_url")
    origin = request.headers.get("Origin")
    upgrade = request.headers.get("Upgrade", "").lower() == "websocket"
    if request.method in SAFE_METHODS and not upgrade:
        return
    if origin is not None and re.sub(r"\Ahttps?://", "", origin) != request.host:
        raise web.HTTPForbidden(text="the request comes from another site")
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        raise web.HTTPForbidden(text="the request comes from another site")


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: the headers of every answer."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.pop("Server", None)


def problem(status: int, title: str, detail: str, headers: dict[str, str]) -> web.Response:
    """An error for programs (RFC 9457)."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return web.json_response(body, status=status, headers=headers, content_type="application/problem+json")


def front(names: Names, page: Callable[[int, str], web.Response]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """The middleware: origin checks before, errors as JSON or as a `page` after."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            check_origin(request, names)
            return await handler(request)
        except web.HTTPException as e:
            if e.status < 400:
                raise
            kept = {k: v for k, v in e.headers.items() if k.lower() not in ("content-type", "content-length")}
            status, reason, detail = e.status, e.reason, e.text or ""
        except ConnectionError:
            raise
        except Exception:
            log.exception("%s %s", request.method, request.path)
            kept, status, reason, detail = {}, 500, "Internal Server Error", "internal error"
        detail = "" if detail == f"{status}: {reason}" else detail
        if is_api(request):
            return problem(status, reason, detail, kept)
        response = page(status, detail or reason)
        response.headers.extend(kept)
        return response

    return middleware
