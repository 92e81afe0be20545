"""An event's H.264 or H.265 clips as one MP4 film: planned once, then read in whatever piece is asked for."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from agent.media import clip, film, fmp4
from agent.media.film import Fragment, Unit
from agent.media.h264 import ParameterSets, parameter_sets, to_lengths, units
from agent.server.catalog import StoredItem


@dataclass(frozen=True, slots=True)
class Piece:
    """Where an access unit is."""

    path: Path
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Film:
    """A playable stretch of stored items; `size` in bytes, `media_type` with the codec, `etag` names its bytes."""

    etag: str
    media_type: str
    head: bytes
    fragments: tuple[Fragment, ...]
    pieces: tuple[Piece, ...]
    offsets: tuple[int, ...]
    size: int

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from `start` to `stop` in pieces; raises FileNotFoundError when retention was faster."""
        if start < len(self.head):
            yield self.head[start:stop]
        first = max(0, bisect_right(self.offsets, start) - 1)
        for n in range(first, len(self.fragments)):
            at = self.offsets[n]
            if at >= stop:
                return
            data = self._fragment(n)
            yield data[max(0, start - at) : stop - at]

    def _fragment(self, n: int) -> bytes:
        fragment = self.fragments[n]
        parts = [fmp4.fragment_head(n + 1, fragment.base, list(fragment.samples))]
        opened: tuple[Path, bytes] | None = None
        for piece in self.pieces[fragment.first : fragment.first + len(fragment.samples)]:
            if opened is None or opened[0] != piece.path:
                opened = (piece.path, piece.path.read_bytes())
            parts.append(to_lengths(opened[1][piece.start : piece.start + piece.length]))
        return b"".join(parts)


def plan(items: list[StoredItem], from_index: int) -> Film:
    """The film of these items in their order, from the frame `from_index` on. Reads all their bytes once.

    Raises ValueError where nothing of them can be played, and FileNotFoundError as `Film.read` does.
    """
    places: dict[int, Piece] = {}
    rows: list[tuple[int, Unit]] = []
    sets: ParameterSets | None = None
    for unit in film.playable(_units(items, from_index, places)):
        if sets is None:
            sets = parameter_sets(unit.codec, unit.data)
        size = sum(4 + end - start for start, end in units(unit.data))
        rows.append((size, replace(unit, data=b"")))
    if sets is None:
        raise ValueError("no keyframe of it is here: nothing can be played")
    parts = film.fragments(rows)
    head = film.head(sets, parts)
    ends = list(accumulate((f.size for f in parts), initial=len(head)))
    names = hashlib.sha256(b"".join(i.sha256 for i in items) + str(from_index).encode())
    pieces = tuple(places[u.index] for _, u in rows)
    etag = names.hexdigest()[:32]
    return Film(etag, fmp4.media_type(sets), head, tuple(parts), pieces, tuple(ends[:-1]), ends[-1])


def _units(items: list[StoredItem], from_index: int, places: dict[int, Piece]) -> Iterator[Unit]:
    for item in items:
        payload = item.path.read_bytes()
        for e in clip.entries(payload):
            if e.index < from_index or e.index in places:
                continue
            places[e.index] = Piece(item.path, e.start, e.length)
            data = payload[e.start : e.start + e.length]
            yield Unit(e.codec, data, bool(e.flags & clip.KEY), e.index, e.pts_ns, e.delay_us)
