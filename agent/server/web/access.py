"""Who may call what, from where; what every answer carries."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from aiohttp import web

from agent.dispatch.listen import EVERYWHERE, is_loopback, lan_address
from agent.dispatch.problem import PROBLEM, about
from agent.server.accounts import GUEST, MEMBER, OWNER, Who
from agent.server.index import DamagedError, UnavailableError
from agent.server.web.openapi import Op

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

Body = TypeVar("Body")

BODY_S = 20.0
WHO = web.RequestKey("who", Who)
UPLINK = "/v1/"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer browsers send `Origin: null` with a form
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Access(Enum):
    """What a route asks for. Where a route names a camera, it asks for that camera's.

    OPEN: nothing. TOKEN: an upload credential, checked by the route. VIEWER: whoever was let in and may see it.
    MANAGE: whose it is. ACCOUNT: a person, not a guest. ADMIN: the server's owner.
    """

    OPEN = "open"
    TOKEN = "token"
    VIEWER = "viewer"
    MANAGE = "manage"
    ACCOUNT = "account"
    ADMIN = "admin"

    def admits(self, who: Who) -> bool:
        """As far as can be said without knowing the camera."""
        if self is Access.MANAGE:
            return who.manage and who.role in (OWNER, MEMBER)
        if self is Access.ACCOUNT:
            return who.manage and who.role != GUEST and not who.camera
        if self is Access.ADMIN:
            return who.manage and who.role == OWNER and not who.camera
        return True


class Rules(Protocol):
    """Who asks, and what they may."""

    def who(self, request: web.Request) -> Who | None: ...

    def holder(self, request: web.Request) -> Callable[[], Who | None]:
        """As `who`, to be asked again and again: the request's login is read once."""
        ...

    def may(self, who: Who, camera: str, manage: bool) -> bool: ...


@dataclass(frozen=True, slots=True)
class Route:
    """One declared way in; `op` is what the API's description says of it."""

    method: str
    path: str
    access: Access
    op: Op | None


class Routes:
    """Adds routes, each with its permission; there is no other way in."""

    def __init__(self, app: web.Application, rules: Rules) -> None:
        self._app = app
        self._rules = rules
        self.declared: dict[tuple[str, str], Route] = {}

    def add(self, method: str, path: str, access: Access, handler: Handler, op: Op | None = None) -> None:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if access not in (Access.OPEN, Access.TOKEN):
                self._admit(request, access)
            return await handler(request)

        self.declared[method, path] = Route(method, path, access, op)
        if method == "GET":
            self._app.router.add_get(path, guarded, allow_head=True)
        else:
            expect = _expect_login if access is Access.TOKEN else None
            self._app.router.add_route(method, path, guarded, expect_handler=expect)

    def _admit(self, request: web.Request, access: Access) -> None:
        """Raise unless whoever asks may; a camera that they may not see is not there."""
        who = self._rules.who(request)
        if who is None:
            if not is_api(request) and request.method in SAFE_METHODS:
                raise web.HTTPSeeOther("/login")
            said = "this token is unknown, ended or revoked" if "Authorization" in request.headers else "log in first"
            raise web.HTTPUnauthorized(text=said, headers={"WWW-Authenticate": _challenge(request)})
        request[WHO] = who
        camera = request.match_info.get("camera")
        if camera is not None and not self._rules.may(who, camera, False):
            raise web.HTTPNotFound(text="no such camera")
        if not access.admits(who) or (
            camera is not None and access is Access.MANAGE and not self._rules.may(who, camera, True)
        ):
            raise web.HTTPForbidden(text="you may not do this")


def _challenge(request: web.Request) -> str:
    """Players send a URL's password when they are asked to; browsers would ask their user, beside our page."""
    browser = request.headers.get("User-Agent", "").startswith("Mozilla/")
    return "Bearer" if browser else 'Basic realm="camera-agent", Bearer'


async def _expect_login(request: web.Request) -> web.Response | None:
    """Refuse an upload that waits for our 100 before it begins: ffmpeg learns so that it has to log in."""
    if "Authorization" not in request.headers:
        return problem(401, "Unauthorized", "log in first", {"WWW-Authenticate": 'Basic realm="camera"'})
    if request.headers.get("Expect", "").lower() != "100-continue":
        return problem(417, "Expectation Failed", "only 100-continue is known", {})
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # the answer itself has not begun
    return None


def asking(request: web.Request) -> Who:
    """Who asks; only in routes that let nobody in unasked."""
    return request[WHO]


def while_allowed(rules: Rules, request: web.Request, camera: str) -> Callable[[], bool]:
    """Whether whoever asked may still see the camera: for answers that go on and on."""
    who, holder = asking(request), rules.holder(request)
    return lambda: holder() == who and rules.may(who, camera, False)


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


def base_of(request: web.Request, public_url: str | None, host: str, port: int) -> str:
    """Our address as the settings say, or as the asker reached it.

    To who asks from this very machine, while we listen on all addresses (`host`), the one by which others reach us:
    what is made of it is for them.
    """
    if public_url:
        return public_url.rstrip("/")
    if host in EVERYWHERE and is_loopback(request.url.host) and (far := lan_address(host)):
        return f"{request.scheme}://{f'[{far}]' if ':' in far else far}:{port}"
    return f"{request.scheme}://{request.host}"


def check_origin(request: web.Request, names: Names) -> None:
    """Raise unless the request is for us and, where it could change or read something, from our own page."""
    upgrade = request.headers.get("Upgrade", "").lower() == "websocket"
    uplink = request.path.startswith(UPLINK)
    if uplink and not upgrade:
        return  # its token is not a browser's to send
    if not uplink and not names.known(request.host):
        raise web.HTTPMisdirectedRequest(text="this server does not answer to that name; set public_url")
    origin = request.headers.get("Origin")
    if request.method in SAFE_METHODS and not upgrade:
        return
    if origin is not None and re.sub(r"\Ahttps?://", "", origin) != request.host:
        raise web.HTTPForbidden(text="the request comes from another site")
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        raise web.HTTPForbidden(text="the request comes from another site")


async def in_time(reading: Awaitable[Body]) -> Body:
    """The body of a form or of JSON, which are small. Raises 408 for one that trickles in."""
    try:
        async with asyncio.timeout(BODY_S):
            return await reading
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the body did not come within {BODY_S:g} s") from None


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: the headers of every answer."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.pop("Server", None)


class Invalid(web.HTTPBadRequest):
    """A body that is not what the route takes; `errors` says where, as JSON pointers."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__(text="; ".join(f"{e['pointer'] or 'body'}: {e['detail']}" for e in errors))
        self.errors = errors


def problem(
    status: int, title: str, detail: str, headers: dict[str, str], errors: list[dict[str, str]] | None = None
) -> web.Response:
    """An error for programs (RFC 9457)."""
    body = about(status, title=title, detail=detail)
    if errors:
        body["errors"] = errors
    return web.json_response(body, status=status, headers=headers, content_type=PROBLEM)


def front(names: Names, page: Callable[[int, str], web.Response]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """The middleware: origin checks before, errors as JSON or as a `page` after."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        errors: list[dict[str, str]] | None = None
        try:
            check_origin(request, names)
            return await handler(request)
        except web.HTTPException as e:
            if e.status < 400:
                raise
            kept = {k: v for k, v in e.headers.items() if k.lower() not in ("content-type", "content-length")}
            status, reason, detail = e.status, e.reason, e.text or ""
            errors = getattr(e, "errors", None)
        except ConnectionError as e:
            # The request keeps this error, and its traceback what was read in the frames below.
            raise e.with_traceback(None) from None
        except web.RequestPayloadError:
            kept, status, reason, detail = {}, 400, "Bad Request", "the body is broken"
        except UnavailableError as e:
            log.warning("the store's index takes nothing now: %s", e)
            why = "index is damaged" if isinstance(e, DamagedError) else "disk is full or not writable"
            kept, status, reason, detail = {}, 507, "Insufficient Storage", f"the store's {why}"
        except Exception:
            resource = request.match_info.route.resource
            log.exception("%s %s", request.method, resource.canonical if resource else "?")  # paths may hold codes
            kept, status, reason, detail = {}, 500, "Internal Server Error", "internal error"
        detail = "" if detail == f"{status}: {reason}" else detail
        if status == 404 and not detail and is_api(request):
            detail = "there is nothing at this address"
        if status == 405:
            detail = f"here are {kept['Allow'].replace(',', ', ')}"
        if is_api(request):
            return problem(status, reason, detail, kept, errors)
        response = page(status, detail or ("There is no page at this address." if status == 404 else reason))
        response.headers.extend(kept)
        return response

    return middleware
