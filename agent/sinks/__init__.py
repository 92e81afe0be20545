"""The ways out: the Sink protocol and the registry of its kinds."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qsl

from agent.errors import ConfigError
from agent.hub import Hub
from agent.outbox import Outbox
from agent.sinks.orders import Command, Orders

__all__ = ["KINDS", "Command", "Feed", "Kind", "Orders", "Sink"]


@dataclass(frozen=True, slots=True)
class Feed:
    """What one camera offers to a sink: items to deliver for certain, and live frames while somebody looks."""

    camera: str
    outbox: Outbox
    live: Hub
    up: Callable[[], None] = lambda: None  # to be called when the other end has accepted the session
    orders: Orders = field(default_factory=Orders)  # what the other end may ask for


class Sink(Protocol):
    """A way out. Its fields are its settings in the configuration file."""

    async def run(self, feed: Feed) -> None:
        """Connect once, deliver items and acknowledge them to the outbox; raise when the way out is gone.

        Raises TransientError or PermanentError with one line that names the address (without secrets).
        """
        ...

    @property
    def label(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A registry row: where the class is."""

    module: str
    name: str

    def load(self) -> type[Sink]:
        cls: type[Sink] = getattr(importlib.import_module(self.module), self.name)
        return cls


KINDS: dict[str, Kind] = {
    "websocket": Kind("agent.sinks.websocket", "WebSocketSink"),
    "http": Kind("agent.sinks.http", "HttpSink"),
    "put": Kind("agent.sinks.put", "PutSink"),
    "webdav": Kind("agent.sinks.put", "WebDavSink"),
    "form": Kind("agent.sinks.form", "FormSink"),
    "ftp": Kind("agent.sinks.ftp", "FtpSink"),
    "disk": Kind("agent.sinks.disk", "DiskSink"),
}

SCHEMES = {"ws": "websocket", "wss": "websocket", "http": "http", "https": "http", "ftp": "ftp"}
TLS = ("explicit", "none")


def from_url(url: str) -> Sink:
    """The sink that an address alone tells: a camera server, an FTP server or a directory. Raises ConfigError.

    An FTP server without TLS is told by `?tls=none`.
    """
    kind = SCHEMES.get(url.partition("://")[0].lower())
    if kind == "ftp":
        url, _, query = url.partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        if query and (list(options) != ["tls"] or options["tls"] not in TLS):
            raise ConfigError(f"behind the ? of an ftp address stands nothing but tls={' or tls='.join(TLS)}")
        return KINDS[kind].load()(url=url, **options)  # type: ignore[call-arg]
    if kind is not None:
        return KINDS[kind].load()(url=url)  # type: ignore[call-arg]
    if url.startswith(("/", "./", "~/")):
        return KINDS["disk"].load()(folder=url)  # type: ignore[call-arg]
    raise ConfigError(f"'{url.rpartition('@')[2][:80]}': expected {'://, '.join(SCHEMES)}:// or a directory (/…)")
