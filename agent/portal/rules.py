"""The entries of a dispatch file: how a listener, a route and a TLS service are written down."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from dataclasses import dataclass
from typing import Literal

from agent.dispatch import matchers
from agent.dispatch.httphead import METHODS, normal_path
from agent.dispatch.matchers import Matcher, Network
from agent.dispatch.peek import Route
from agent.dispatch.services import Terminate
from agent.errors import ConfigError

Words = tuple[str, ...] | str
Protocol = Literal["", "any", "http", "http2", "tls", "rtsp", "ssh", "mqtt", "silence"]
_PLAIN: dict[str, Matcher] = {
    "http2": matchers.Http2(),
    "rtsp": matchers.Rtsp(),
    "ssh": matchers.Ssh(),
    "mqtt": matchers.Mqtt(),
    "silence": matchers.Silence(),
}
EVERY_PROTOCOL = (
    Route("tls", "TLS", (matchers.Tls(),)),
    Route("websocket", "WebSocket", (matchers.Http(websocket=True),)),
    Route("http", "HTTP", (matchers.Http(),)),
    *(Route(name, name.upper(), (matcher,)) for name, matcher in _PLAIN.items()),
)
"""A rule for each protocol that is told by its beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenSettings:
    """A TCP port (0: any free one), a UNIX socket's path, or a socket that systemd hands over, by its name there."""

    name: str = ""
    host: str = "127.0.0.1"
    port: int | None = None
    unix: str = ""
    mode: str | int = "660"
    systemd: str = ""

    def __post_init__(self) -> None:
        if self.port is not None and not 0 <= self.port <= 65535:
            raise ConfigError(f"port {self.port} is not between 0 and 65535")
        if not re.fullmatch("0?[0-7]{3}", str(self.mode)):
            raise ConfigError(f"mode {self.mode} is not three octal digits")
        if (self.port is not None) + bool(self.unix) + bool(self.systemd) != 1:
            raise ConfigError("give one of port, unix and systemd")

    @property
    def label(self) -> str:
        return self.name or self.unix or self.systemd or f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings:
    """A rule. All that is given must apply; of several words under one key, one must."""

    to: str
    name: str = ""
    protocol: Protocol = ""
    method: Words = ()
    host: Words = ()
    path: Words = ()
    header: dict[str, str | None] | None = None
    websocket: bool | None = None
    sni: Words = ()
    alpn: Words = ()
    starts: str = ""
    client: Words = ()

    def __post_init__(self) -> None:
        for kind, given in (("http", self._http_keys()), ("tls", self._tls_keys())):
            if given and self.protocol not in ("", kind):
                raise ConfigError(f"{given[0]} goes with protocol {kind}, not with {self.protocol}")
        if self._http_keys() and self._tls_keys():
            raise ConfigError(f"{self._http_keys()[0]} and {self._tls_keys()[0]} cannot both be seen in one beginning")
        for path in _words(self.path):
            stem = path.removesuffix("*")
            if not stem.startswith("/") or "*" in stem or normal_path(stem) is None:
                raise ConfigError(f"path '{path}' must begin with /, and may end with /*")
        for method in _words(self.method):
            if method not in METHODS:
                raise ConfigError(f"method '{method}' is not one of {', '.join(sorted(METHODS))}")
        for name in (*_words(self.host), *_words(self.sni)):
            if not re.fullmatch(r"(\*\.)?[A-Za-z0-9._:\[\]-]+", name):
                raise ConfigError(f"'{name}' is no host name (*.example.org for all below it)")
        networks(self.client)

    def route(self, number: int) -> Route:
        """The rule as the dispatcher has it; `number` names it where it has no name."""
        when: list[Matcher] = [matchers.Client(networks(self.client))] if self.client else []
        if self.starts:
            when.append(matchers.Starts(self.starts.encode()))
        if self._http_keys() or self.protocol == "http":
            header = tuple((k.lower(), v) for k, v in (self.header or {}).items())
            hosts = tuple(h.lower() for h in _words(self.host))
            when.append(matchers.Http(_words(self.method), hosts, _words(self.path), header, self.websocket))
        elif self._tls_keys() or self.protocol == "tls":
            when.append(matchers.Tls(tuple(n.lower() for n in _words(self.sni)), _words(self.alpn)))
        elif self.protocol in _PLAIN:
            when.append(_PLAIN[self.protocol])
        return Route(self.name or f"{number}:{self.to}", self.to, tuple(when))

    @property
    def takes_everything(self) -> bool:
        return not self.route(0).when

    @property
    def may_be_http(self) -> bool:
        return self.protocol in ("", "any", "http") and not self._tls_keys()

    def _http_keys(self) -> list[str]:
        keys = ("method", "host", "path", "header")
        return [k for k in keys if getattr(self, k)] + (["websocket"] if self.websocket is not None else [])

    def _tls_keys(self) -> list[str]:
        return [k for k in ("sni", "alpn") if getattr(self, k)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """TLS that ends here: PEM files of a certificate chain and its key; what is inside goes by the same routes."""

    certificate: str
    key: str = ""
    handshake_timeout_s: float = 10.0
    max_connections: int = 0

    def __post_init__(self) -> None:
        if not self.handshake_timeout_s > 0:
            raise ConfigError("handshake_timeout_s must be more than 0")

    def service(self) -> Terminate:
        """Reads the files. Raises ConfigError that names them."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        for name in (self.certificate, self.key):
            if name and not os.path.isfile(name):
                raise ConfigError(f"there is no file {name}")
        try:
            context.load_cert_chain(self.certificate, self.key or None)
        except (OSError, ssl.SSLError) as e:
            raise ConfigError(f"{self.certificate} and its key: {e.strerror or e}") from None
        return Terminate(context, self.max_connections, self.handshake_timeout_s)


def networks(words: Words) -> tuple[Network, ...]:
    """Addresses and networks (192.0.2.0/24). Raises ConfigError that names the one that is none."""
    try:
        return tuple(ipaddress.ip_network(word) for word in _words(words))
    except ValueError as e:
        raise ConfigError(str(e)) from None


def _words(value: Words) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) and value else tuple(value)
