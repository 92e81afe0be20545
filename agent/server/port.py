"""The server's one port: what comes in is looked at and given to the pages and the API, or to FTP."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict

from aiohttp import web

from agent.dispatch.arrival import Service
from agent.dispatch.dispatcher import Dispatcher
from agent.dispatch.http import Handler, http_service
from agent.dispatch.limits import Limits
from agent.dispatch.listen import Listener, tcp
from agent.dispatch.matchers import Answer, Custom, Http, Seen, Silence, Tls
from agent.dispatch.peek import Route
from agent.dispatch.records import Record
from agent.dispatch.services import InProcess, Terminate
from agent.errors import PermanentError, UsageError
from agent.server.ingest.ftpdata import Claimed

log = logging.getLogger(__name__)

LOGIN = b"USER "
BROWSER = "Mozilla/"  # as all of them begin, and no program that uploads pictures
SECRET_PATH = re.compile(r"(/(?:s|j|setup|invite|password)/)[^\s'\"]+")


class Port:
    """Listens on one address at a time, for a runner that is set up; must be made inside the event loop.

    `tls`: what begins with TLS is decrypted, and what is inside goes by the same rules. `ftp`: serves clients that say
    nothing for a second, or log in without waiting for a greeting.
    """

    def __init__(
        self,
        runner: web.AppRunner,
        tls: ssl.SSLContext | None = None,
        ftp: Callable[[], asyncio.BaseProtocol] | None = None,
        limits: Limits | None = None,
    ) -> None:
        routes = [Route("http", "http", (Http(),))]
        services: dict[str, Service] = {"http": http_service(runner)}
        if tls is not None:
            routes.insert(0, Route("tls", "tls", (Tls(),)))
            services["tls"] = Terminate(tls)
        if ftp is not None:
            routes += [Route("ftp", "ftp", (Silence(),)), Route("ftp-early", "ftp", (Custom("USER", _logs_in),))]
            services["ftp"] = InProcess(ftp)
        self._dispatcher = Dispatcher(routes, services, limits=limits, on_record=_log_record)
        self._listeners: list[Listener] = []
        self.number = 0

    def listen(self, host: str, port: int) -> None:
        """On this address instead of the one before; connections that are here stay. 0: any free port.

        Raises UsageError: the port is taken (75) or not permitted (77); then it listens nowhere.
        """
        self.deaf()
        try:
            sockets = tcp(host, self.number or port)
        except PermanentError as e:
            raise UsageError(f"{e}; choose another (--port, or `port` in the file)", e.exit_code) from None
        self._listeners = [self._dispatcher.listen(sock, "server") for sock in sockets]
        self.number = self._listeners[0].port

    def expect(self, peer: str) -> Claimed:
        """FTP's next data connection from this address comes in here. Raises OSError when too many are expected."""
        return Claimed(self._dispatcher.claims, peer, self.number)

    def browser_at(self, host: str) -> None:
        """A browser's request came from there: what else it connects is not FTP's."""
        self._dispatcher.browsers.seen(host)

    def deaf(self) -> None:
        """Accept no more; what is connected stays."""
        while self._listeners:
            self._dispatcher.stop(self._listeners.pop())

    async def close(self) -> None:
        """End what is still connected."""
        self.deaf()
        await self._dispatcher.close(drain_s=0.1)

    def metrics(self) -> Iterator[str]:
        """Counters of connections in Prometheus' text format."""
        yield from self._dispatcher.counts.lines()


def noting_browsers(port: Callable[[], Port | None]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """The middleware that tells the port of them.

    Only of a page that opens, when they connect ahead: one that is open asks now and then, on what is connected, and no
    camera at the same address would be greeted for as long as it is looked at.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        here = port()
        browser = BROWSER in request.headers.get("User-Agent", "")
        opens = "text/html" in request.headers.get("Accept", "") or request.path.startswith("/static/")
        if here is not None and request.remote and browser and opens:
            here.browser_at(request.remote)
        return await handler(request)

    return middleware


def _logs_in(seen: Seen) -> Answer:
    """FTP's first command, in any case: firmware that feeds `nc` says all at once."""
    opening = seen.data[: len(LOGIN)].upper()
    if opening == LOGIN:
        return Answer.YES
    return Answer.MORE if LOGIN.startswith(opening) else Answer.NO


def _log_record(record: Record) -> None:
    if log.isEnabledFor(logging.DEBUG):
        said = asdict(record) | {"why": SECRET_PATH.sub(r"\1…", record.why)}
        log.debug("connection %s", json.dumps(said, ensure_ascii=False))
