"""Which routes lead to which services; one immutable object, so that a reload touches no running connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.dispatch.arrival import Service
from agent.dispatch.matchers import Any, Client, Network
from agent.dispatch.peek import Route
from agent.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Table:
    """What a connection is judged by from accept to end; replaced as a whole, never changed.

    by_silence: some rule waits for silent clients. eager: the first rule asks for no byte, so that a server that
    speaks first is not kept waiting.
    """

    routes: tuple[Route, ...]
    services: dict[str, Service]
    proxy_from: tuple[Network, ...] = ()
    by_silence: bool = False
    eager: bool = False


def make_table(routes: Sequence[Route], services: Mapping[str, Service], proxy_from: Sequence[Network] = ()) -> Table:
    """Raises ConfigError when a route names a service that is not there, or a name stands twice."""
    names: set[str] = set()
    for route in routes:
        if route.service not in services:
            raise ConfigError(f"route '{route.name}': no service '{route.service}' (there are: {', '.join(services)})")
        if route.name in names:
            raise ConfigError(f"route '{route.name}' stands twice")
        names.add(route.name)
    silence = any(route.by_silence for route in routes)
    eager = bool(routes) and all(isinstance(m, Any | Client) for m in routes[0].when)
    return Table(tuple(routes), dict(services), tuple(proxy_from), silence, eager)
