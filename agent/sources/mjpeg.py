"""Cameras that send JPEGs over HTTP: a stream of them, or one for each question; and the D-Link DCS-920."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Self
from urllib.parse import unquote, urlsplit

from annotated_types import Gt, Le

from agent.clock import SystemClock
from agent.errors import ConfigError, PermanentError, TransientError, UsageError
from agent.frame import Codec, Frame
from agent.media.jpeg import TooLarge
from agent.media.multipart import Splitter
from agent.sources import Publish
from agent.sources.bodies import ChunkedPictures, Pictures
from agent.sources.http import Body, Head, Url
from agent.sources.login import Login
from agent.sources.stall import ended_or_stalled
from agent.sources.stream import NO_CAMERA, PERMISSION, Answer, NoSuchPath, get, refuse_other_media

log = logging.getLogger(__name__)

Seconds = Annotated[float, Gt(0), Le(3600)]
DCS920_PATHS = (
    "/video.cgi",
    "/mjpeg.cgi",
    "/VIDEO.CGI",
    "/MJPEG.CGI",
    "/video/mjpg.cgi",
    "/image/jpeg.cgi",
    "/image.jpg",
    "/IMAGE.JPG",
)


@dataclass(frozen=True, slots=True, repr=False)
class MjpegSource:
    """An MJPEG stream or a still picture at `url` (http or https), credentials in it or beside it.

    A still is asked for every `poll_s` seconds. `password_file` holds the password in its first line.
    """

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str = ""
    connect_timeout_s: Seconds = 10.0
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
        url = Url.parse(self.url)
        username = self.username or url.username
        login = Login(username, _password(self.password or url.password, self.password_file))
        run = _Run(publish, self.stall_timeout_s)
        await run.all(await get(url, login, self.connect_timeout_s), login, self.connect_timeout_s, self.poll_s)


@dataclass(frozen=True, slots=True, repr=False)
class Dcs920Source:
    """A D-Link DCS-920 or its like: knows the paths and tries them in turn; user `admin` unless told otherwise."""

    host: str
    port: Annotated[int, Gt(0), Le(65535)] = 80
    username: str = "admin"
    password: str = field(default="", repr=False)
    password_file: str = ""
    path: str = ""
    connect_timeout_s: Seconds = 10.0
    stall_timeout_s: Seconds = 10.0
    poll_s: Seconds = 1.0

    def __post_init__(self) -> None:
        if not self.host or any(c in self.host for c in "/@?# \t\r\n"):
            raise ConfigError("host: expected a name or an address only")
        if self.path and not self.path.startswith("/"):
            raise ConfigError("path: expected it to begin with '/'")

    def __repr__(self) -> str:
        return f"Dcs920Source({self.label})"

    @classmethod
    def from_url(cls, text: str) -> Self:
        """`dcs920://user:password@host[:port]`; raises UsageError, without the text (it may hold a password)."""
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port or 80
            path = parts.path if parts.path != "/" else ""
            return cls(host, port, unquote(parts.username or "admin"), unquote(parts.password or ""), path=path)
        except (ValueError, ConfigError):
            raise UsageError("no such camera: expected dcs920://user:password@host[:port]", NO_CAMERA) from None

    @property
    def label(self) -> str:
        return self._url(self.path or DCS920_PATHS[0]).label

    def _url(self, path: str) -> Url:
        return replace(Url("http", self.host.strip("[]"), self.port, "/"), target=Url.parse(f"http://h{path}").target)

    async def run(self, publish: Publish) -> None:
        login = Login(self.username, _password(self.password, self.password_file))
        run = _Run(publish, self.stall_timeout_s)
        answer = await self._find(login)
        await run.all(answer, login, self.connect_timeout_s, self.poll_s)

    async def _find(self, login: Login) -> Answer:
        for path in [self.path] if self.path else DCS920_PATHS:
            try:
                return await get(self._url(path), login, self.connect_timeout_s)
            except NoSuchPath as e:
                refusal = e
        if self.path:
            raise refusal
        raise PermanentError(f"{self.label}: none of the paths of a DCS-920 is there (404)", NO_CAMERA)


def _password(password: str, file: str) -> str:
    if not file:
        return password
    try:
        with open(file, encoding="utf-8") as f:
            return f.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "not UTF-8 text"
        raise PermanentError(f"password_file {file}: {why}", PERMISSION) from None


class _Run:
    """One run: numbers and times the pictures, and sees when they stop."""

    def __init__(self, publish: Publish, stall_timeout_s: float) -> None:
        self._publish = publish
        self._stall_s = stall_timeout_s
        self._clock = SystemClock()
        self._index = 0

    def pictures(self, pictures: list[bytes]) -> None:
        for data in pictures:
            clock = self._clock
            self._publish(Frame(Codec.JPEG, data, True, clock.monotonic_ns(), clock.wall_ns(), self._index))
            self._index += 1

    async def all(self, answer: Answer, login: Login, timeout_s: float, poll_s: float) -> None:
        """Everything from this answer on; never returns: raises when the camera is gone."""
        still = await self._body(answer)
        clock = asyncio.get_running_loop().time
        due = clock() + poll_s
        while still:
            await asyncio.sleep(due - clock())
            due = max(due + poll_s, clock())
            before = self._index
            await self._body(await get(answer.url, login, timeout_s))
            if self._index == before:
                raise TransientError(f"{answer.url.label}: answered without a picture")
        if not self._index:
            raise TransientError(f"{answer.url.label}: ended without a picture")
        raise TransientError(f"{answer.url.label}: the camera ended the stream after {self._index} pictures")

    async def _body(self, answer: Answer) -> bool:
        """Publish a body's pictures; True when it was a single still."""
        connection, label = answer.connection, answer.url.label
        splitter = Splitter()
        first = self._index
        try:
            refuse_other_media(answer)
            connection.read(_body_of(answer.head, splitter, self.pictures))
            if await ended_or_stalled(connection.ended, lambda: splitter.frames, self._stall_s):
                bad = f" ({splitter.bad_parts} bad parts)" if splitter.bad_parts else ""
                raise TransientError(f"no picture for {self._stall_s:g} s{bad}")
            connection.ended.result()
            self.pictures(splitter.close())
        except TooLarge as e:
            raise self._oversized(label, e) from None
        except TransientError as e:
            raise TransientError(f"{label}: {e}") from None
        finally:
            await connection.close()
            log.debug(
                "%s: %d pictures, %d bad parts, %d resyncs, %d wake-ups",
                *(label, splitter.frames, splitter.bad_parts, splitter.resyncs, connection.wakeups),
            )
        multipart = answer.head.media_type.startswith("multipart/")
        return not multipart and self._index == first + 1

    def _oversized(self, label: str, e: TooLarge) -> TransientError | PermanentError:
        # After good pictures it is one broken header; before any it is what this camera sends.
        return TransientError(f"{label}: {e}") if self._index else PermanentError(f"{label}: {e}")


def _body_of(head: Head, splitter: Splitter, publish: Callable[[list[bytes]], None]) -> Body:
    if head.chunked:
        return ChunkedPictures(splitter, publish)
    # A stream's Content-Length is made up; a still's tells its end where the camera keeps the connection.
    return Pictures(splitter, publish, None if head.media_type.startswith("multipart/") else head.length)
