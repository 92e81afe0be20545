"""One virtual camera: what was agreed for it, and what it does now."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from agent.errors import UsageError
from agent.frame import Frame
from agent.hub import Hub
from agent.schema import above, at_least, at_most, below, max_letters
from agent.schema.read import MismatchError, read
from agent.server.reasons import Command, Reasons

FRESH_NS = 3_000_000_000
ANSWER_S = 3.0
LEAST_QUOTA, QUOTA_BELOW = 1024 * 1024, 2**60


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSettings:
    """What its owner chose.

    `ends_ns`: UTC at which it ends by itself; `at_end` says what then becomes of its recordings: `burn` erases
    everything, `keep` ends the ways in and leaves the recordings to retention. `quota_bytes`, `retention_days`,
    `stills_days` (of single pictures): tighter limits than the server's. `events`: how pictures that come without
    events become some, by `motion`, by `pause` (each `pause_s` without a picture ends one), or `auto`: pictures
    uploaded one by one by pause (the camera chose them), streams by motion. `pull`: the address of a camera that
    the server fetches by itself.
    """

    ends_ns: Annotated[int, at_least(0), below(2**63)] | None = None
    at_end: Literal["burn", "keep"] = "burn"
    quota_bytes: Annotated[int, at_least(LEAST_QUOTA), below(QUOTA_BELOW)] | None = None
    retention_days: Annotated[float, above(0), at_most(36500)] | None = None
    stills_days: Annotated[float, above(0), at_most(36500)] | None = None
    events: Literal["auto", "motion", "pause"] = "auto"
    pause_s: Annotated[float, at_least(1), at_most(3600)] = 10.0
    pull: Annotated[str, max_letters(2000)] | None = field(default=None, repr=False)

    def dumps(self) -> str:
        """As it is stored."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def loads(cls, text: str) -> CameraSettings:
        """Raises ValueError; keys of a newer program are passed over."""
        settings: CameraSettings = read(cls, json.loads(text), unknown=True)
        return settings

    @classmethod
    def of(cls, **values: Any) -> CameraSettings:
        """Raises UsageError that names the key."""
        try:
            settings: CameraSettings = read(cls, values)
        except MismatchError as e:
            raise UsageError(str(e)) from None
        return settings

    def as_json(self) -> dict[str, Any]:
        """What the API says of them; a password in `pull` is left out."""
        return {
            "ends_ms": self.ends_ns / 1e6 if self.ends_ns else None,
            "at_end": self.at_end,
            "quota_bytes": self.quota_bytes,
            "retention_days": self.retention_days,
            "stills_days": self.stills_days,
            "events": self.events,
            "pause_s": self.pause_s,
            "pull": without_login(self.pull) if self.pull else None,
        }


def without_login(url: str) -> str:
    """The address without user and password."""
    try:
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    except ValueError:
        return "…"


class Form:
    """One way of packing frames for the wire; the newest is remembered."""

    __slots__ = ("_pack", "data", "frame")

    def __init__(self, pack: Callable[[Frame], bytes]) -> None:
        self.frame: Frame | None = None
        self.data = b""
        self._pack = pack

    def make(self, frame: Frame) -> bytes:
        self.frame, self.data = frame, self._pack(frame)
        return self.data


async def nothing(*_: object) -> None:
    """Stands where nobody is asked yet."""


class Camera:
    """`hub` carries its live frames; `account` is whose it is; the rest is what people want to know of it.

    `id` tells it from others that had its name before, as the index does.
    """

    def __init__(self, name: str, account: int = 1, login: str = "", settings: CameraSettings | None = None) -> None:
        self.name = name
        self.id = ""
        self.account = account
        self.login = login
        self.settings = settings or CameraSettings()
        self.hub = Hub()
        self.sessions = 0
        self.since_ns = 0
        self.last_frame_ns = 0
        self.frames = 0
        self.items = 0
        self.pull_error = ""
        self.gone = False  # deleted; whoever is still at it leads nowhere
        self.command: Command | None = None  # asks the agent that is connected, if it takes commands
        self.why = Reasons(lambda: self.command)
        self.remembered: Callable[[], Awaitable[Frame | None]] = nothing  # the newest picture of the archive
        self._forms: dict[str, Form] = {}

    @property
    def connected(self) -> bool:
        return self.sessions > 0

    def delete(self) -> None:
        """It is no more. Its pictures go now, not when somebody else lets go of the last that leads to them."""
        self.gone = True
        self.hub.clear()
        self._forms.clear()

    def ended(self, now_ns: int) -> bool:
        """Its time is over; with `keep` its recordings are still there."""
        return self.settings.ends_ns is not None and self.settings.ends_ns <= now_ns

    def publish(self, frame: Frame) -> None:
        self.frames += 1
        self.last_frame_ns = max(self.last_frame_ns, frame.wall_ns)
        self.hub.publish(frame)

    async def recall(self) -> None:
        """Where no picture came since the server's start, the newest is that of the archive."""
        if self.hub.latest is None and (frame := await self.remembered()) is not None and self.hub.latest is None:
            self.hub.begin(frame)

    async def picture(self, now_ns: int) -> Frame | None:
        """The newest keyframe. While nobody looks agents send none: then the agent is asked for one, where it is there.

        `now_ns` is monotonic.
        """
        await self.recall()
        latest = self.hub.latest
        if self.command is not None and (latest is None or now_ns - latest.pts_ns > FRESH_NS):
            with self.hub.subscribe() as frames, suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    return await frames.get()
        return latest

    def form(self, name: str, pack: Callable[[Frame], bytes]) -> Form:
        """What all viewers that want frames packed in this way share."""
        form = self._forms.get(name)
        if form is None:
            form = self._forms[name] = Form(pack)
        return form

    def as_json(self, now_ns: int = 0) -> dict[str, Any]:
        state = "up" if self.connected else "away" if self.since_ns else "waiting"
        return {
            "name": self.name,
            "state": "ended" if self.ended(now_ns) else state,
            "since_ms": self.since_ns / 1e6,
            "last_frame_ms": self.last_frame_ns / 1e6,
            "viewers": self.hub.readers,
            "ends_ms": self.settings.ends_ns / 1e6 if self.settings.ends_ns else None,
        }
