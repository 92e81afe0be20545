"""`/metrics`: counters for Prometheus, for the owner and for this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address

from aiohttp import web

FORWARDED = ("Forwarded", "X-Forwarded-For", "Via")


class Metrics:
    """Puts the lines of its `sources` together. A proxy on this machine does not make its clients local."""

    def __init__(self, role: Callable[[web.Request], str | None]) -> None:
        self._role = role
        self._sources: list[Callable[[], Iterator[str]]] = []

    def add(self, lines: Callable[[], Iterator[str]]) -> None:
        """Lines in Prometheus' text format, asked for at each look."""
        self._sources.append(lines)

    async def handle(self, request: web.Request) -> web.Response:
        if self._role(request) != "owner" and not _is_local(request):
            raise web.HTTPUnauthorized(text="counters are for the owner, or for this machine")
        text = "".join(line + "\n" for source in self._sources for line in source())
        return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _is_local(request: web.Request) -> bool:
    if any(name in request.headers for name in FORWARDED):
        return False
    try:
        return ip_address(request.remote or "").is_loopback
    except ValueError:
        return False
