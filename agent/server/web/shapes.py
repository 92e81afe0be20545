"""The shapes of what the API takes and gives; its description is made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from agent.schema import above, at_least, at_most, below, matches, max_letters, min_letters

Name = Annotated[str, matches(r"^[a-z0-9-]{1,63}$")]
Text = Annotated[str, min_letters(1), max_letters(200)]
Secret = Annotated[str, max_letters(4000)]
Seconds = Annotated[float, above(0), at_most(10 * 365 * 86400)]


class CameraJson(TypedDict):
    """A camera as everybody sees it who may see it."""

    name: str
    state: Literal["up", "away", "waiting", "ended"]
    since_ms: float
    last_frame_ms: float
    viewers: int
    ends_ms: float | None
    mine: bool


class CamerasJson(TypedDict):
    cameras: list[CameraJson]


class StoredJson(TypedDict):
    """What a camera's recordings take; `days_left` at the rate of the last day, None when nothing limits them."""

    bytes: int
    items: int
    events: int
    bytes_a_day: int
    days_left: float | None


class SettingsJson(TypedDict):
    ends_ms: float | None
    at_end: Literal["burn", "keep"]
    quota_bytes: int | None
    retention_days: float | None
    stills_days: float | None
    events: Literal["auto", "motion", "pause"]
    pause_s: float
    pull: str | None


class CameraDetailJson(CameraJson):
    """A camera with its settings, for its owner; None for others.

    `pull_error`: why the server cannot fetch its pictures from the address in its settings, None while it can.
    """

    settings: SettingsJson | None
    login: str | None
    pull_error: str | None
    stored: StoredJson


class AboutJson(TypedDict):
    version: str
    role: Literal["owner", "member", "viewer", "guest"]
    account: str
    events: int
    bytes: int
    notes: dict[str, Any]


class ItemJson(TypedDict):
    """`keyframe`: it starts with one. `group`: `seq` of the item that its group of pictures began in, where known."""

    url: str
    seq: int
    type: Literal["still", "clip", "event"]
    event: int
    wall_ms: float
    wall_ns: int
    bytes: int
    sha256: str
    codec: Literal["jpeg", "h264", "h265"]
    keyframe: bool
    group: int | None


class StillsJson(TypedDict):
    """`next` is the cursor of the next page, None on the last."""

    stills: list[ItemJson]
    next: str | None


class FrameJson(TypedDict):
    url: str
    index: int
    wall_ms: float
    wall_ns: int
    codec: str
    preroll: bool
    truncated: bool
    start: int
    bytes: int


class FramesJson(TypedDict):
    frames: list[FrameJson]


class EventJson(TypedDict):
    id: int
    camera: str
    number: int
    state: Literal["open", "closed", "cut"]
    start_ms: float
    end_ms: float
    length_s: float
    peak: float
    reason: str
    boxes: list[list[float]]
    why: str
    follows: int
    frames: int
    clips: int
    bytes: int
    thumb: str | None
    cursor: str
    kept: bool


class EventDetailJson(EventJson):
    items: list[ItemJson]


class EventsJson(TypedDict):
    """`next` is the cursor of the next page, None on the last."""

    events: list[EventJson]
    next: str | None


class TokenJson(TypedDict):
    id: int
    name: str
    scope: Literal["read", "manage"]
    camera: str | None
    created_ms: float
    expires_ms: float


class NewTokenJson(TokenJson):
    token: str


class TokensJson(TypedDict):
    tokens: list[TokenJson]


class AccountJson(TypedDict):
    id: int
    name: str
    role: Literal["owner", "member", "viewer"]


class AccountsJson(TypedDict):
    accounts: list[AccountJson]


class LinkJson(TypedDict):
    url: str


class ShareJson(TypedDict):
    id: int
    camera: str
    event: int | None
    created_ms: float
    expires_ms: float
    views: int


class NewShareJson(ShareJson):
    url: str


class SharesJson(TypedDict):
    shares: list[ShareJson]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCamera:
    """`ends_s`: it ends by itself after so long; `ends_ms`: then, as the settings tell it."""

    name: Name
    ends_s: Seconds | None = None
    ends_ms: Annotated[float, at_least(0), below(2**43)] | None = None
    at_end: Literal["burn", "keep"] = "burn"
    quota_bytes: Annotated[int, at_least(1024 * 1024), below(2**60)] | None = None
    retention_days: Annotated[float, above(0), at_most(36500)] | None = None
    stills_days: Annotated[float, above(0), at_most(36500)] | None = None
    events: Literal["auto", "motion", "pause"] = "auto"
    pause_s: Annotated[float, at_least(1), at_most(3600)] = 10.0
    pull: Annotated[str, max_letters(2000)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    name: Text
    scope: Literal["read", "manage"] = "read"
    camera: Name | None = None
    life_s: Seconds = 30 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewShare:
    """`event`: an event's id; without it the camera's live picture."""

    camera: Name | None = None
    event: Annotated[int, at_least(1), below(2**53)] | None = None
    life_s: Seconds = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """`camera`: to see this one; without it: to have cameras of their own (the server's owner may invite so)."""

    camera: Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingCode:
    code: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPassword:
    old: Secret
    new: Secret


class UploadedJson(TypedDict):
    """How many pictures were stored."""

    stored: int


class PushedJson(TypedDict):
    """How many pictures came."""

    pictures: int


class PairedJson(TypedDict):
    """What an agent needs; the token is in no other place."""

    name: str
    token: str
    websocket_url: str
