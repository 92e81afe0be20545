"""Ordinary files to a server that takes them by PUT, with or without WebDAV's folders."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import ClassVar, Literal
from urllib.parse import quote

from agent.errors import PermanentError, TransientError
from agent.sinks import Feed, naming
from agent.sinks.binder import File, FileRules
from agent.sinks.filing import Unwanted, deliver
from agent.sinks.httpline import Answer, HttpLine
from agent.sinks.secret import bare, check_scheme, label_of, secret, user_of

NEVER = (400, 411, 413, 414, 415, 422)


@dataclass(frozen=True, slots=True, kw_only=True)
class PutSink:
    """Files below `url` by HTTP PUT. The login is Basic; `ca_file`: certificates to trust instead of the system's.

    `path`, `clips`, `film_s`, `records` say which files, under which names (docs/files.md).
    """

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str | None = None
    ca_file: str | None = None
    path: str = naming.DEFAULT
    clips: Literal["films", "pictures"] = "films"
    film_s: float = 60.0
    records: bool = True

    folders: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_scheme(self.url, "http", "https")
        self.rules()

    def rules(self) -> FileRules:
        """Raises ConfigError."""
        return FileRules(self.path, self.clips, self.film_s, self.records)

    @property
    def label(self) -> str:
        return label_of(self.url)

    async def run(self, feed: Feed) -> None:
        login = basic(self.label, self.url, self.username, self.password, self.password_file)
        async with HttpLine(self.label, login, self.ca_file) as line:
            target = _Target(line, self.label, bare(self.url), self.folders)
            await target.greet()
            feed.up()
            await deliver(feed, self.rules(), target.put)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebDavSink(PutSink):
    """The same with folders made first (MKCOL), as WebDAV servers want it."""

    folders: ClassVar[bool] = True


def basic(label: str, url: str, username: str, password: str, password_file: str | None) -> dict[str, str]:
    """The Authorization header, if there is a login."""
    user, word = user_of(url, username), secret(label, password, password_file, url)
    if not (user or word):
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{word}".encode()).decode()}


class _Target:
    """Where the files go, in one run."""

    def __init__(self, line: HttpLine, label: str, base: str, folders: bool) -> None:
        self._line = line
        self._label = label
        self._base = base
        self._folders = folders
        self._made: set[str] = set()

    async def greet(self) -> None:
        """Is the server there, and the login right? What else it answers does not matter yet."""
        answer = await self._line.ask("OPTIONS", self._base + "/")
        if answer.status == 401 or answer.status >= 502:
            raise self._line.failed(answer)

    async def put(self, file: File) -> None:
        folder = file.path.rpartition("/")[0]
        if self._folders:
            await self._make(folder)
        headers = {"Content-Type": file.media_type}
        answer = await self._line.ask("PUT", f"{self._base}/{quote(file.path)}", headers, file.body)
        if answer.status in (404, 409) and self._folders:
            self._made.clear()  # somebody deleted a folder: the next run makes it again
            raise TransientError(f"{self._label}: the folder of {file.path} is gone ({answer.status})")
        if not 200 <= answer.status < 300:
            raise self._failed(answer, file)

    async def _make(self, folder: str) -> None:
        """Each folder down to this one, once; one that exists already is none the worse for it."""
        parts = folder.split("/") if folder else []
        for i in range(1, len(parts) + 1):
            path = "/".join(parts[:i])
            if path in self._made:
                continue
            answer = await self._line.ask("MKCOL", f"{self._base}/{quote(path)}/")
            if answer.status == 401 or answer.status in (403, 507) or answer.status >= 502:
                raise self._line.failed(answer)
            self._made.add(path)

    def _failed(self, answer: Answer, file: File) -> Exception:
        if answer.status in NEVER:
            return Unwanted(f"the server answers {answer.status}")
        if answer.status in (404, 405, 409, 501):
            return PermanentError(f"{self._label}: the server does not take PUT of {file.path} ({answer.status})")
        return self._line.failed(answer)
