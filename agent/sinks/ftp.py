"""Ordinary files to an FTP server: explicit TLS, one session kept open, whole files only."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import unquote, urlsplit

from agent.errors import ConfigError
from agent.sinks import Feed, naming
from agent.sinks.binder import File, FileRules
from agent.sinks.filing import deliver
from agent.sinks.ftpsession import FtpSession, Place
from agent.sinks.secret import check_scheme, label_of, secret, user_of
from agent.sinks.threads import finished
from agent.threads import Threads

PORT = 21
CLOSE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FtpSink:
    """Files below `url`, which is `ftp://host[:port][/folder]`; the folder is below where the login begins.

    `tls`: explicit (AUTH TLS, for commands and data) or none, which shows the password to whoever listens.
    `ca_file`: certificates to trust instead of the system's. `active`: the server connects back for data.
    A camera server gets pictures, whatever `clips` says: it takes nothing else by FTP.
    """

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str | None = None
    tls: Literal["explicit", "none"] = "explicit"
    ca_file: str | None = None
    active: bool = False
    timeout_s: float = 30.0
    path: str = naming.DEFAULT
    clips: Literal["films", "pictures"] = "films"
    film_s: float = 60.0
    records: bool = True

    def __post_init__(self) -> None:
        check_scheme(self.url, "ftp")
        if "?" in self.url:
            raise ConfigError("url: expected no '?' in it ('tls' is a key of its own, a '?' in a folder is %3F)")
        self.rules()
        if not 1 <= self.timeout_s <= 600:
            raise ConfigError("timeout_s must be 1 to 600")

    def rules(self) -> FileRules:
        """Raises ConfigError."""
        return FileRules(self.path, self.clips, self.film_s, self.records)

    @property
    def label(self) -> str:
        return label_of(self.url)

    async def run(self, feed: Feed) -> None:
        session, rules = FtpSession(self._place()), self.rules()
        with Threads(1, "ftp") as thread:

            async def call(work: object, *args: object) -> None:
                await finished(work, *args, executor=thread, abort=session.abort)  # type: ignore[arg-type]

            async def put(file: File) -> None:
                await call(session.put, file.path, file.body)

            try:
                await call(session.open)
                if session.pictures_only:
                    rules = replace(rules, clips="pictures", records=False)
                feed.up()
                await deliver(feed, rules, put, lambda: call(session.noop))
            finally:
                await asyncio.wait({asyncio.wrap_future(thread.submit(session.close))}, timeout=CLOSE_S)

    def _place(self) -> Place:
        parts = urlsplit(self.url)
        return Place(
            label=self.label,
            host=parts.hostname or "",
            port=parts.port or PORT,
            folder=unquote(parts.path).strip("/"),
            username=user_of(self.url, self.username) or "anonymous",
            password=secret(self.label, self.password, self.password_file, self.url),
            tls=self.tls == "explicit",
            ca_file=self.ca_file,
            active=self.active,
            timeout_s=self.timeout_s,
        )
