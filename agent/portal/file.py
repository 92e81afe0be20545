"""A dispatch file, read and checked; every error names file, line and key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.config import REQUIRED, Complain, Field, LogSettings, read_file
from agent.dispatch.arrival import Service
from agent.dispatch.limits import Limits
from agent.dispatch.matchers import Network
from agent.dispatch.peek import Route
from agent.dispatch.relay import Relay
from agent.dispatch.services import Metrics, Pass, Refuse
from agent.errors import ConfigError
from agent.portal.rules import ListenSettings, RouteSettings, TlsSettings, networks


@dataclass(frozen=True, slots=True)
class Kind:
    """A registry row: the settings class of a service."""

    cls: type[Any]

    def load(self) -> type[Any]:
        return self.cls


SERVICES = {
    "relay": Kind(Relay),
    "pass": Kind(Pass),
    "tls": Kind(TlsSettings),
    "refuse": Kind(Refuse),
    "metrics": Kind(Metrics),
}
FIELDS = {
    "listen": Field(cls=ListenSettings, many="list", default=REQUIRED),
    "services": Field(kinds=SERVICES, many="map", default=REQUIRED),
    "routes": Field(cls=RouteSettings, many="list", default=REQUIRED),
    "proxy_from": Field(cls=str, many="list", default=()),
    "limits": Field(cls=Limits, default=Limits()),
    "log": Field(cls=LogSettings, default=LogSettings()),
}


@dataclass(frozen=True, slots=True)
class PortalSettings:
    """All of a dispatch file. `proxy_from`: who may send a PROXY header in front."""

    listen: tuple[ListenSettings, ...]
    routes: tuple[Route, ...]
    services: dict[str, Service]
    proxy_from: tuple[Network, ...]
    limits: Limits
    log_level: str


def load(path: Path) -> PortalSettings:
    """Raises ConfigError that shows every problem with its line."""
    services: dict[str, Service] = {}

    def check(values: dict[str, Any], complain: Complain) -> None:
        _check_routes(values["routes"], values["services"], complain)
        _check_listeners(values["listen"], complain)
        for i, word in enumerate(values["proxy_from"]):
            _complaining(lambda w=word: networks(w), f"proxy_from[{i}]", complain)
        for name, made in values["services"].items():
            if isinstance(made, TlsSettings):
                made = _complaining(made.service, f"services.{name}", complain)
            services[name] = made

    values = read_file(path, FIELDS, check)
    return PortalSettings(
        tuple(values["listen"]),
        tuple(r.route(i) for i, r in enumerate(values["routes"], 1)),
        services,
        networks(tuple(values["proxy_from"])),
        values["limits"],
        values["log"].level,
    )


def _check_routes(routes: list[RouteSettings], services: dict[str, Any], complain: Complain) -> None:
    names: set[str] = set()
    greedy = ""
    for i, route in enumerate(routes):
        name = route.route(i + 1).name
        if route.to not in services:
            complain(f"routes[{i}].to", f"there is no service '{route.to}' (there are: {', '.join(services)})")
        elif not route.may_be_http and getattr(services[route.to], "http", "") in ("close", "framed"):
            complain(f"routes[{i}].to", f"'{route.to}' is for HTTP only (http: {services[route.to].http})")
        if name in names:
            complain(f"routes[{i}]", f"the name '{name}' stands twice")
        if greedy:
            complain(f"routes[{i}]", f"is never reached: '{greedy}' before it takes everything")
        names.add(name)
        greedy = greedy or (name if route.takes_everything else "")


def _check_listeners(listeners: list[ListenSettings], complain: Complain) -> None:
    seen: set[ListenSettings] = set()
    for i, one in enumerate(listeners):
        if one in seen and one.port != 0:
            complain(f"listen[{i}]", "stands twice")
        seen.add(one)


def _complaining(work: Any, where: str, complain: Complain) -> Any:
    try:
        return work()
    except ConfigError as e:
        complain(where, str(e))
        return None
