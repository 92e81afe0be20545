"""An aiohttp application as an in-process service, with what aiohttp leaves out for this place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, LineTooLong

from agent.dispatch.inner import Factory
from agent.dispatch.matchers import path_fits
from agent.dispatch.problem import PROBLEM, about
from agent.dispatch.services import InProcess

if TYPE_CHECKING:
    from agent.dispatch.dispatcher import Dispatcher

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]
FRAMING = "a body needs Content-Length, or Transfer-Encoding: chunked"
_AGAIN_S = 0.02


class HalfCloseHandler(web.RequestHandler):
    """Answers a client that ends its side right after the request; aiohttp by itself closes unanswered."""

    __slots__ = ()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        over_tls = self.transport is not None and self.transport.get_extra_info("ssl_object") is not None
        if self._payload_parser is not None or over_tls:
            return None
        asyncio.get_running_loop().call_soon(self._end_when_answered)
        return True

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What is no request is told so for programs (RFC 9457), without a copy of it."""
        super().handle_error(request, status, exc, message)
        detail = "malformed request"
        if isinstance(exc, LineTooLong):
            detail = "a line of the head is too long"
        elif isinstance(exc, BadHttpMethod):
            detail = f"no request begins here; {FRAMING}"
        body = about(status, **({"detail": detail} if status < 500 else {}))
        answer = web.json_response(body, status=status, content_type=PROBLEM)
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **more: Any) -> None:
        """What is no HTTP is its sender's mistake, and who has gone needs no answer: neither fills our log."""
        if not isinstance(more.get("exc_info"), HttpProcessingError | ConnectionError):
            super().log_exception(*args, **more)

    def _end_when_answered(self) -> None:
        """Also pipelined requests are answered; one whose body was cut off is not."""
        request, idle = self._current_request, self._waiter is not None
        if self.transport is None:
            return
        if self._messages or self._buffer_paused or (request is None and not idle):
            asyncio.get_running_loop().call_later(_AGAIN_S, self._end_when_answered)
        elif request is None or not request.content.is_eof():
            self.force_close()
        else:
            self.close()


def http_service(runner: web.BaseRunner, max_connections: int = 0) -> InProcess:
    """What a runner serves, once its `setup()` has been awaited; no site is needed.

    An `AppRunner` is for applications; `ServerRunner(web.Server(handler))` for one handler that reads uploads as they
    arrive (`request.content.iter_any()`), without any limit of size.
    """
    server = runner.server
    if server is None:
        raise RuntimeError("await runner.setup() first")
    return InProcess(_factory(server), max_connections)


def client_address(
    dispatcher: Callable[[], Dispatcher],
) -> Middleware:
    """Middleware: `request.remote` is the client that a trusted PROXY header spoke for."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        client = dispatcher().client_of(request.transport)
        return await handler(request.clone(remote=client.host) if client else request)

    return middleware


def own_paths(*prefixes: str) -> Middleware:
    """Middleware for one of several applications behind a port: 421 and close to paths that are not its own."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if path_fits(request.path, prefixes):
            return await handler(request)
        answer = web.Response(status=421, text="421 Misdirected Request\n")
        answer.force_close()
        return answer

    return middleware


def _factory(server: web.Server) -> Factory:
    def make() -> asyncio.BaseProtocol:
        handler = server()
        handler.__class__ = HalfCloseHandler
        return handler

    return make
