"""A network camera of a known family: an address is enough, the paths come from the family's row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Self
from urllib.parse import quote, unquote, urlsplit

from agent.errors import ConfigError, PermanentError, UsageError
from agent.schema import above, at_most
from agent.sources import Publish
from agent.sources.http import Url
from agent.sources.login import Login
from agent.sources.pictures import Run, Seconds, password_of
from agent.sources.presets import PRESETS, Preset, preset
from agent.sources.stream import NO_CAMERA, Answer, NoSuchPath, get, look, refuse_other_media

DCS920 = "dcs920"
_OWN_PORT = re.compile(r":(\d{1,5})(/.*)")


@dataclass(frozen=True, slots=True, repr=False)
class IpCameraSource:
    """Tries the paths of `preset` in their order, streams first. Without `port` it is 80, or the path's own.

    `path` is for a camera that has an unusual one. Without `username` it is the family's usual one.
    """

    host: str
    port: Annotated[int, above(0), at_most(65535)] | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""
    path: str = ""
    connect_timeout_s: Seconds = 5.0
    stall_timeout_s: Seconds = 10.0
    poll_s: Seconds = 1.0
    preset: str = DCS920

    def __post_init__(self) -> None:
        preset(self.preset)
        if not self.host or any(c in self.host for c in "/@?# \t\r\n"):
            raise ConfigError("host: expected a name or an address only")
        if self.path and not self.path.startswith("/"):
            raise ConfigError("path: expected it to begin with '/'")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.label})"

    @classmethod
    def from_url(cls, text: str) -> Self:
        """`PRESET://user:password@host[:port]`; raises UsageError, without the text (it may hold a password)."""
        scheme = text.partition("://")[0].lower()
        try:
            parts = urlsplit(text)
            host, path = parts.hostname or "", parts.path if parts.path != "/" else ""
            path += f"?{parts.query}" if path and parts.query else ""
            name, password = unquote(parts.username or ""), unquote(parts.password or "")
            return cls(host, parts.port, name, password, path=path, **_family(scheme))
        except (ValueError, ConfigError):
            raise UsageError(f"no such camera: expected {scheme}://user:password@host[:port]", NO_CAMERA) from None

    @property
    def label(self) -> str:
        return next(self._urls("", "")).label

    def _urls(self, user: str, password: str) -> Iterator[Url]:
        row = preset(self.preset)
        for text in [self.path] if self.path else [*row.streams, *row.stills]:
            own = _OWN_PORT.match(text)
            port, path = (int(own[1]), own[2]) if own else (80, text)
            path = path.replace("{user}", quote(user, safe="")).replace("{password}", quote(password, safe=""))
            target = Url.parse(f"http://h{path}").target
            yield replace(Url("http", self.host.strip("[]"), self.port or port, "/"), target=target)

    async def run(self, publish: Publish) -> None:
        login, urls = self._ways()
        answer = await self._find(urls, login)
        run = Run(self.label, publish, self.stall_timeout_s)
        await run.all(answer, login, self.connect_timeout_s, self.poll_s)

    async def look(self) -> list[str]:
        """Remarks for `check`; raises as `run` does."""
        login, urls = self._ways()
        answer = await self._find(urls, login)
        await answer.connection.close()
        return await look(answer.url, login, self.connect_timeout_s)

    def _ways(self) -> tuple[Login, list[Url]]:
        row = preset(self.preset)
        user = self.username or row.username
        password = password_of(self.password, self.password_file)
        return _login(row, user, password), list(self._urls(user, password))

    async def _find(self, urls: list[Url], login: Login) -> Answer:
        """The first path with pictures. One that is not there, or is a page, leads to the next; a refusal ends it."""
        for url in urls:
            try:
                answer = await get(url, login, self.connect_timeout_s)
                try:
                    refuse_other_media(answer)
                except PermanentError:
                    await answer.connection.close()
                    raise
                return answer
            except NoSuchPath as e:
                refusal = e
        if self.path:
            raise refusal
        raise PermanentError(
            f"{self.label}: none of the {len(urls)} paths of preset '{self.preset}' has pictures", NO_CAMERA
        )


@dataclass(frozen=True, slots=True, repr=False)
class Dcs920Source(IpCameraSource):
    """A D-Link DCS-920 or its like: the preset that the default is made of."""

    preset: str = field(init=False, default=DCS920)


def _family(scheme: str) -> dict[str, Any]:
    return {"preset": scheme} if scheme in PRESETS and scheme != DCS920 else {}


def _login(row: Preset, user: str, password: str) -> Login:
    if row.first == "query":
        return Login("", "")
    return Login(user, password, eager=row.first == "basic")
