"""A camera that sends JPEGs over HTTP from an address that is known: a stream of them, or one for each question."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from agent.errors import ConfigError, UsageError
from agent.sources import Publish
from agent.sources.http import Url
from agent.sources.login import Login
from agent.sources.pictures import Run, Seconds, password_of
from agent.sources.stream import NO_CAMERA, get, look


@dataclass(frozen=True, slots=True, repr=False)
class MjpegSource:
    """An MJPEG stream or a still picture at `url` (http or https), credentials in it or beside it.

    A still is asked for every `poll_s` seconds. `password_file` holds the password in its first line.
    """

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""
    connect_timeout_s: Seconds = 5.0
    stall_timeout_s: Seconds = 10.0
    poll_s: Seconds = 1.0

    def __post_init__(self) -> None:
        try:
            Url.parse(self.url)
        except ValueError as e:
            raise ConfigError(f"url: {e}") from None

    def __repr__(self) -> str:
        return f"MjpegSource({self.label})"

    @classmethod
    def from_url(cls, text: str) -> Self:
        """`http://user:password@host[:port]/path`; raises UsageError."""
        try:
            return cls(text)
        except ConfigError as e:
            raise UsageError(f"no such camera: {e}", NO_CAMERA) from None

    @property
    def label(self) -> str:
        return Url.parse(self.url).label

    async def run(self, publish: Publish) -> None:
        url, login = Url.parse(self.url), self._login()
        run = Run(self.label, publish, self.stall_timeout_s)
        await run.all(await get(url, login, self.connect_timeout_s), login, self.connect_timeout_s, self.poll_s)

    async def look(self) -> list[str]:
        """Remarks for `check`; raises as `run` does."""
        return await look(Url.parse(self.url), self._login(), self.connect_timeout_s)

    def _login(self) -> Login:
        url = Url.parse(self.url)
        password = password_of(self.password or url.password, self.password_file)
        return Login(self.username or url.username, password)
