"""What the index knows, a row each. Times are nanoseconds UTC; an `id` of 0 is given by the index."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agent.frame import Codec, ItemType


@dataclass(frozen=True, slots=True)
class ItemRow:
    """An item whose original bytes are in the store's files. Key: camera, spool, seq.

    A clip of H.264 or H.265 knows the indices of its frames and of the keyframe that its first one leans on.
    """

    camera: str
    spool: str
    seq: int
    type: ItemType
    event: int
    wall_ns: int
    stored_ns: int
    sha256: bytes
    bytes: int
    codec: Codec = Codec.JPEG
    first_index: int | None = None
    last_index: int | None = None
    key_index: int | None = None


@dataclass(frozen=True, slots=True)
class EventRow:
    """What the items of an event told so far. Key: camera, spool, number.

    `state`: `unannounced` (clips only), `open`, `closed`. `boxes`: JSON. `thumb_*`: where its picture is (the item,
    and the bytes of its payload) and of when.
    """

    camera: str
    spool: str
    number: int
    at_ns: int
    first_ns: int
    last_ns: int
    touched_ns: int
    id: int = 0
    end_ns: int | None = None
    state: str = "unannounced"
    score: float = 0.0
    peak: float = 0.0
    reason: str = ""
    boxes: str = "[]"
    follows: int = 0
    why: str = ""
    frames: int = 0
    clips: int = 0
    bytes: int = 0
    thumb_seq: int | None = None
    thumb_start: int | None = None
    thumb_length: int | None = None
    thumb_ns: int | None = None
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """Numbers of a spool, both ends included, that are settled: stored or declared. Key: camera, spool, first."""

    camera: str
    spool: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """Numbers that a sender gave up. Key: camera, spool, first, last."""

    camera: str
    spool: str
    first: int
    last: int
    why: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Past:
    """Digests of items that are deleted, a block of numbers each. Key: camera, spool, block."""

    camera: str
    spool: str
    block: int
    digests: bytes


@dataclass(frozen=True, slots=True)
class NoteRow:
    """An event that is to be told; `told`: JSON of the channels that have it. Key: id."""

    camera: str
    spool: str
    number: int
    at_ns: int
    due_ns: int
    tries: int = 0
    told: str = "[]"
    id: int = 0


@dataclass(frozen=True, slots=True)
class CameraRow:
    """A virtual camera: whose it is, the hashes of its keys, its settings as JSON. Key: name.

    `camera_id` tells it from others that had its name before; "" where that is not known (an index made of files).
    `pull_error`: why the server cannot fetch its pictures, "" while it can.
    """

    name: str
    account: int
    login: str
    token_hash: bytes | None
    password_hash: bytes | None
    settings: str
    created_ns: int = field(default=0, compare=False)
    camera_id: str = ""
    pull_error: str = ""


@dataclass(frozen=True, slots=True)
class Erasing:
    """A camera whose erasure has begun and must be finished. Key: camera."""

    camera: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The salted hash of a deleted camera's key. Key: hash."""

    hash: bytes
    at_ns: int


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing of the whole store. Key: key."""

    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A person. Key: id; names are unique."""

    name: str
    role: str
    salt: bytes = field(repr=False)
    hash: bytes = field(repr=False)
    id: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """An account may see a camera. Key: account, camera."""

    account: int
    camera: str


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody is logged in; `hash` names it without opening it; account 0 is a guest. Key: hash."""

    hash: bytes
    account: int
    expires_ns: int


@dataclass(frozen=True, slots=True)
class Link:
    """A code that works once: `kind` is `invite`, `pair` or `password`. Key: hash."""

    hash: bytes
    kind: str
    account: int
    camera: str
    expires_ns: int


@dataclass(frozen=True, slots=True)
class Token:
    """An API token: `scope` is `read` or `manage`; `camera` narrows it, "" is all that the account sees. Key: id."""

    hash: bytes = field(repr=False)
    account: int
    name: str
    scope: str
    camera: str
    created_ns: int
    expires_ns: int
    id: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "scope": self.scope,
            "camera": self.camera or None,
            "created_ms": self.created_ns / 1e6,
            "expires_ms": self.expires_ns / 1e6,
        }


@dataclass(frozen=True, slots=True)
class Share:
    """A link for the public; `event` is the event's id, 0 for the camera's live picture. Key: id."""

    hash: bytes = field(repr=False)
    account: int
    camera: str
    event: int
    created_ns: int
    expires_ns: int
    views: int = 0
    id: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "camera": self.camera,
            "event": self.event or None,
            "created_ms": self.created_ns / 1e6,
            "expires_ms": self.expires_ns / 1e6,
            "views": self.views,
        }
