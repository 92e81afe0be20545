"""Items into ordinary files: pictures as JPEG, events as AVI that any player opens; no clock, no socket."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Generator
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Literal, Self

from agent.errors import ConfigError
from agent.frame import Codec, Item, ItemType
from agent.media import clip, jpeg
from agent.sinks import naming
from agent.sinks.body import Body, BytesBody
from agent.sinks.filming import MEDIA, STREAM, Picture, film_of
from agent.sinks.naming import Moment

MAX_OPEN_BYTES = 128 * 1024 * 1024
MAX_OPEN = 256
DEAD_S = 60.0


@dataclass(frozen=True, slots=True)
class FileRules:
    """Which files, under which names; raises ConfigError. A film holds at most `film_s` of its event."""

    path: str = naming.DEFAULT
    clips: Literal["films", "pictures"] = "films"
    film_s: float = 60.0
    records: bool = True

    def __post_init__(self) -> None:
        naming.check(self.path)
        if not 1 <= self.film_s <= 600:
            raise ConfigError("film_s must be 1 to 600")


@dataclass(frozen=True, slots=True)
class File:
    """To be put under `path` ("": there is nothing to put); after that `items` are delivered."""

    path: str
    media_type: str
    body: Body
    moment: Moment
    items: tuple[Item, ...] = ()


@dataclass(slots=True)
class _Film:
    """A stretch of an event that is being collected. Payloads of its items are in the file, not in memory."""

    event: tuple[str, int]
    stretch: int
    file: BinaryIO
    touched_s: float
    size: int = 0
    pictures: list[Picture] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)


@dataclass(slots=True)
class _Event:
    start_ns: int | None = None
    closing: Item | None = None  # its closing record, until its films are there: a repeat needs it once more
    closed: bool = False
    frames: int | None = None  # that its closing record tells
    seen: int = 0
    newest: int = 0
    shown: bool = False


class Binder:
    """Collects the clips of events; close it (or use `with`) to let go of its temporary files.

    Items may come in any order. A film is finished when its event has closed and all its frames are here, or when
    nothing more waits (`quiet`) and later ones have begun, or when too much is open.
    """

    def __init__(self, camera: str, rules: FileRules) -> None:
        self._camera = camera
        self._rules = rules
        self._films: dict[tuple[tuple[str, int], int], _Film] = {}
        self._events: dict[tuple[str, int], _Event] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        for film in self._films.values():
            film.file.close()
        self._films.clear()

    @property
    def open(self) -> bool:
        return bool(self._films) or any(event.closing for event in self._events.values())

    def add(self, item: Item, now_s: float) -> Generator[File]:
        """The files that this item makes or completes; each must be put before the next is asked for."""
        if item.type is ItemType.STILL:
            yield self._file(item.payload, item, item.wall_ns, "jpg", (item,))
        elif item.type is ItemType.EVENT:
            yield from self._record(item)
        elif self._rules.clips == "pictures":
            yield from self._pictures(item)
        else:
            yield from self._collect(item, now_s)
        while sum(f.size for f in self._films.values()) > MAX_OPEN_BYTES or len(self._films) > MAX_OPEN:
            yield from self._finish(min(self._films.values(), key=lambda f: f.touched_s))

    def quiet(self, now_s: float) -> Generator[File]:
        """Nothing more waits in the outbox: the files that are therefore whole."""
        for film in list(self._films.values()):
            event = self._events[film.event]
            passed = film.stretch < event.newest or event.closed
            if passed or now_s - film.touched_s > DEAD_S:
                yield from self._finish(film)
        for key, event in list(self._events.items()):
            yield from self._settle(key, event)

    def _event(self, item: Item) -> _Event:
        if len(self._events) > 4 * MAX_OPEN:
            busy = {film.event for film in self._films.values()}
            self._events = {k: v for k, v in self._events.items() if k in busy or v.closing}
        return self._events.setdefault((item.spool, item.event), _Event())

    def _record(self, item: Item) -> Generator[File]:
        record = json.loads(item.payload)
        event = self._event(item)
        if isinstance(record.get("wall_ns"), int):
            event.start_ns = record["wall_ns"]
        if record.get("state") == "closed":
            event.closed = True
            event.frames = record["frames"] if isinstance(record.get("frames"), int) else None
            event.closing = _light(item)
        done = () if event.closing else (item,)
        wall_ns = event.start_ns or item.wall_ns
        if self._rules.records:
            yield self._file(item.payload, item, wall_ns, "json", done)
        elif done:
            yield self._none(item)
        yield from self._complete((item.spool, item.event), event)

    def _pictures(self, item: Item) -> Generator[File]:
        entries = tuple(clip.entries(item.payload))
        for i, e in enumerate(entries):
            data = item.payload[e.start : e.start + e.length]
            done = (item,) if i == len(entries) - 1 else ()
            yield self._file(data, item, e.wall_ns, STREAM.get(e.codec, "jpg"), done)

    def _collect(self, item: Item, now_s: float) -> Generator[File]:
        event, key = self._event(item), (item.spool, item.event)
        entries = tuple(clip.entries(item.payload))
        if not entries:
            yield self._none(item)
            return
        if event.start_ns is None:
            event.start_ns = item.wall_ns
        if not event.shown:
            first = next((e for e in entries if not e.flags & clip.PREROLL and e.codec is Codec.JPEG), None)
            if first is not None:
                event.shown = True
                yield self._file(item.payload[first.start : first.start + first.length], item, first.wall_ns, "jpg", ())
        stretch = max(0, int((item.wall_ns - event.start_ns) / 1e9 // self._rules.film_s))
        film = self._films.get((key, stretch))
        if film is None:
            film = self._films[key, stretch] = _Film(key, stretch, _temporary(), now_s)
        event.newest = max(event.newest, stretch)
        event.seen += len(entries)
        film.touched_s = now_s
        film.file.write(item.payload)
        film.pictures += [Picture(item.seq, e, film.size + e.start) for e in entries]
        film.size += len(item.payload)
        film.items.append(_light(item))
        yield from self._complete(key, event)

    def _complete(self, key: tuple[str, int], event: _Event) -> Generator[File]:
        """All films of an event whose frames are all here."""
        if event.frames is not None and event.seen >= event.frames:
            for film in [f for f in self._films.values() if f.event == key]:
                yield from self._finish(film)
            yield from self._settle(key, event)

    def _settle(self, key: tuple[str, int], event: _Event) -> Generator[File]:
        """The closing record of an event that has no film open any more."""
        if event.closing is not None and not any(film.event == key for film in self._films.values()):
            closing, event.closing = event.closing, None
            yield self._none(closing)

    def _finish(self, film: _Film) -> Generator[File]:
        del self._films[film.event, film.stretch]
        try:
            film.pictures.sort(key=lambda p: (p.seq, p.at))
            film.file.flush()
            first = film.pictures[0]
            moment = Moment(self._camera, first.entry.wall_ns, film.event[1], first.seq)
            suffix, body = film_of(film.file.fileno(), film.pictures)
            yield File(naming.path(self._rules.path, moment, suffix), _MEDIA[suffix], body, moment, tuple(film.items))
        finally:
            film.file.close()

    def _none(self, item: Item) -> File:
        return File("", "", BytesBody(b""), self._moment(item, item.wall_ns), (item,))

    def _moment(self, item: Item, wall_ns: int) -> Moment:
        return Moment(self._camera, wall_ns, item.event, item.seq)

    def _file(self, data: bytes, item: Item, wall_ns: int, suffix: str, done: tuple[Item, ...]) -> File:
        moment = self._moment(item, wall_ns)
        if suffix == "jpg":
            data = _viewable(data)
        return File(naming.path(self._rules.path, moment, suffix), _MEDIA[suffix], BytesBody(data), moment, done)


_MEDIA = {"jpg": "image/jpeg", "json": "application/json"} | MEDIA


def _temporary() -> BinaryIO:
    """A file without a name, on a disk rather than in memory."""
    folder = "/var/tmp" if os.access("/var/tmp", os.W_OK) else None
    return tempfile.TemporaryFile(dir=folder, prefix="camera-agent-")


def _light(item: Item) -> Item:
    """The item without its bytes, to be acknowledged later."""
    return Item(item.camera, item.spool, item.seq, item.type, item.event, item.wall_ns, b"", item.sha256)


def _viewable(data: bytes) -> bytes:
    """A file that viewers open: motion pictures of some cameras lack the tables that all of them share."""
    try:
        return jpeg.decodable(data)
    except ValueError:
        return data
