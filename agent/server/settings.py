"""What a camera server may be told."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from agent.dispatch.limits import Limits
from agent.errors import ConfigError
from agent.schema import above, at_least, at_most, matches, max_letters, min_letters
from agent.server import notify as notifying
from agent.sinks.secret import check_scheme

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """`store` is the directory of everything ("": the service's or the user's state directory).

    The oldest recordings go after `retention_days` (single pictures after `stills_days`), or earlier when they take
    more than `max_mib` (or `max_bytes`, the smaller counts). `public_url` is how people reach the page when a proxy
    stands in front.
    `ftp`: FTP ingest at the same port, where clients that say nothing are greeted after a second; `ftp_port`: at a port
    of its own, at once. `single_port_ftp`: passive data comes in at the same port, too; otherwise `ftp_passive_ports`
    is the range for it ("0-0": any free one). `ftp_address`: what passive answers say instead of the address that was
    reached (behind NAT). `tls_cert` and `tls_key` are PEM files; with them everything is https and FTP offers AUTH TLS.
    `limits`: what strangers may take of the port.
    Raises ConfigError for values that contradict themselves.
    """

    host: Annotated[str, min_letters(1), max_letters(253)] = "127.0.0.1"
    port: Annotated[int, at_least(0), at_most(65535)] = 8088
    store: str = ""
    retention_days: Annotated[float, above(0), at_most(36500)] = 7
    stills_days: Annotated[float, above(0), at_most(36500)] | None = None
    max_bytes: Annotated[int, at_least(MIB)] | None = None
    max_mib: Annotated[int, at_least(1)] | None = None
    public_url: str | None = None
    ftp: bool = False
    single_port_ftp: bool = False
    ftp_port: Annotated[int, at_least(0), at_most(65535)] | None = None
    ftp_passive_ports: Annotated[str, matches(r"^[0-9]{1,5}-[0-9]{1,5}$")] = "0-0"
    ftp_address: str | None = None
    notify: tuple[notifying.Settings, ...] = ()
    tls_cert: str | None = None
    tls_key: str | None = None
    limits: Limits = dataclasses.field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.public_url is not None:
            check_scheme(self.public_url, "http", "https", key="public_url")
            if urlsplit(self.public_url).path not in ("", "/"):
                raise ConfigError("public_url must be http(s)://name[:port] without a path")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("tls_cert and tls_key belong together: give both or neither")
        if self.single_port_ftp and not self.ftp:
            raise ConfigError("single_port_ftp needs ftp: true")
        low, _, high = self.ftp_passive_ports.partition("-")
        if int(low) > int(high) or int(high) > 65535:
            raise ConfigError(f"ftp_passive_ports {self.ftp_passive_ports} is no range of ports")

    @property
    def store_path(self) -> Path:
        if self.store:
            return Path(self.store).expanduser()
        if state := os.environ.get("STATE_DIRECTORY"):
            return Path(state.split(":")[0]) / "server"
        base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        return Path(base) / "camera-agent" / "server"

    @property
    def ftp_at(self) -> int | None:
        """The port that cameras are told for FTP: the one of its own, if there is one; None without FTP."""
        return self.port if self.ftp and self.ftp_port is None else self.ftp_port

    @property
    def limit_bytes(self) -> int | None:
        """The most that recordings may take, None for no limit."""
        limits = [n for n in (self.max_bytes, self.max_mib and self.max_mib * MIB) if n]
        return min(limits, default=None)
