"""A dispatcher that runs by a file and takes over what changes in it."""

from __future__ import annotations

import logging
import os
import socket
from collections import Counter
from pathlib import Path

from agent.dispatch import listen
from agent.dispatch.dispatcher import Dispatcher
from agent.dispatch.listen import Listener
from agent.errors import AgentError, ConfigError
from agent.portal.file import PortalSettings, load
from agent.portal.rules import ListenSettings

log = logging.getLogger(__name__)
Entry = tuple[ListenSettings, int]


class Portal:
    """Must be made inside the event loop. `reload` never touches a running connection."""

    def __init__(self, path: Path, settings: PortalSettings) -> None:
        self._path = path
        self._inherited = listen.inherited(os.environ)
        self._dispatcher = Dispatcher(
            settings.routes, settings.services, limits=settings.limits, proxy_from=settings.proxy_from
        )
        self._listeners: dict[Entry, list[Listener]] = {}
        self._settings = settings

    def start(self) -> list[str]:
        """Listen; says where, a line each. Raises PermanentError or ConfigError naming the listener."""
        return self._listen(self._settings)

    def reload(self) -> None:
        """Go on by the file as it is now, or as before when it has errors; both are logged."""
        try:
            settings = load(self._path)
            said = self._listen(settings)
        except AgentError as e:
            return log.error("not reloaded, everything goes on as before:\n%s", e)
        self._dispatcher.replace(settings.routes, settings.services, settings.proxy_from, settings.limits)
        self._settings = settings
        for line in said:
            log.info("%s", line)
        log.info("reloaded %s", self._path)

    async def close(self) -> None:
        """Accept no more, and end what is here within the drain time."""
        await self._dispatcher.close()

    def _listen(self, settings: PortalSettings) -> list[str]:
        """Open what is new, then close what is gone; all or nothing."""
        wanted, opened = _entries(settings.listen), dict[Entry, list[socket.socket]]()
        try:
            for entry in wanted:
                if entry not in self._listeners:
                    opened[entry] = self._open(entry[0])
        except AgentError:
            for sock in (s for socks in opened.values() for s in socks):
                sock.close()
            raise
        for entry in [e for e in self._listeners if e not in wanted]:
            for listener in self._listeners.pop(entry):
                self._dispatcher.stop(listener)
        for entry, socks in opened.items():
            one = entry[0]
            self._listeners[entry] = [self._dispatcher.listen(s, one.label, bool(one.systemd)) for s in socks]
        return [_say(one, sock) for (one, _), socks in opened.items() for sock in socks]

    def _open(self, one: ListenSettings) -> list[socket.socket]:
        if one.port is not None:
            return listen.tcp(one.host if one.host != "*" else "", one.port)
        if one.unix:
            return [listen.unix(Path(one.unix), int(str(one.mode), 8))]
        if one.systemd not in self._inherited:
            there = ", ".join(self._inherited) or "none"
            raise ConfigError(f"listen: systemd handed over no socket named '{one.systemd}' (there are: {there})")
        return [sock.dup() for sock in self._inherited[one.systemd]]


def _entries(listeners: tuple[ListenSettings, ...]) -> list[Entry]:
    """Each with its number among its equals: two `port: 0` are two ports."""
    seen: Counter[ListenSettings] = Counter()
    out = []
    for one in listeners:
        out.append((one, seen[one]))
        seen[one] += 1
    return out


def _say(one: ListenSettings, sock: socket.socket) -> str:
    name = f" ({one.name})" if one.name else ""
    if sock.family == socket.AF_UNIX:
        return f"listening on {sock.getsockname()}{name}"
    host, port = sock.getsockname()[:2]
    return f"listening on {f'[{host}]' if ':' in host else host}:{port}{name}"
