"""The pictures of an event, which lie in an open file, as one film that ordinary players open; none is coded anew."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from agent.frame import Codec
from agent.media import aviwriter, clip, film, fmp4, jpeg
from agent.media.h264 import ParameterSets, parameter_sets, units
from agent.sinks.body import PiecesBody

Piece = bytes | tuple[int, int]
STREAM = {Codec.H264: "h264", Codec.H265: "h265"}
MEDIA = {
    "avi": "video/x-msvideo",
    "mp4": "video/mp4",
    "h264": "video/h264",
    "h265": "video/h265",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame of item `seq`, whose bytes begin at `at`."""

    seq: int
    entry: clip.Entry
    at: int


def film_of(fd: int, pictures: Sequence[Picture]) -> tuple[str, PiecesBody]:
    """(suffix, body) of one film, of the codec of its first picture.

    JPEGs make an AVI. H.264 and H.265 make an MP4 if a player can show all of it; else what there is, as a stream.
    """
    codec = pictures[0].entry.codec
    own = [p for p in pictures if p.entry.codec is codec]
    if codec is Codec.JPEG:
        return "avi", _avi(fd, own)
    try:
        body = _mp4(fd, own)
    except ValueError:  # parameter sets that nobody can make sense of
        body = None
    if body is not None:
        return "mp4", body
    return STREAM[codec], PiecesBody(fd, tuple((p.at, p.entry.length) for p in own))


def _avi(fd: int, pictures: list[Picture]) -> PiecesBody:
    sizes = [p.entry.length for p in pictures]
    parts = aviwriter.parts([p.entry.wall_ns for p in pictures], sizes, *_size(fd, pictures[0]))
    return PiecesBody(fd, tuple(p if isinstance(p, bytes) else (pictures[p].at, sizes[p]) for p in parts))


def _size(fd: int, picture: Picture) -> tuple[int, int]:
    try:
        info = jpeg.inspect(_read(fd, picture))
    except ValueError:
        return 0, 0
    return info.width, info.height


def _mp4(fd: int, pictures: list[Picture]) -> PiecesBody | None:
    """The film, or None when not every picture of it could be shown."""
    sets: ParameterSets | None = None
    rows: list[tuple[int, film.Unit]] = []
    samples: list[list[Piece]] = []
    for n, unit in enumerate(film.playable(_units(fd, pictures))):
        if n >= len(pictures) or unit.index != pictures[n].entry.index:
            return None
        sets = sets or parameter_sets(unit.codec, unit.data)
        sample: list[Piece] = []
        for start, end in units(unit.data):
            sample += [(end - start).to_bytes(4, "big"), (pictures[n].at + start, end - start)]
        samples.append(sample)
        rows.append((sum(len(p) if isinstance(p, bytes) else p[1] for p in sample), replace(unit, data=b"")))
    if sets is None or len(rows) < len(pictures):
        return None
    parts = film.fragments(rows)
    pieces: list[Piece] = [film.head(sets, parts)]
    for number, part in enumerate(parts, 1):
        pieces.append(fmp4.fragment_head(number, part.base, list(part.samples)))
        for sample in samples[part.first : part.first + len(part.samples)]:
            pieces += sample
    return PiecesBody(fd, tuple(pieces))


def _units(fd: int, pictures: list[Picture]) -> Iterator[film.Unit]:
    for p in pictures:
        e = p.entry
        yield film.Unit(e.codec, _read(fd, p), bool(e.flags & clip.KEY), e.index, e.pts_ns, e.delay_us)


def _read(fd: int, picture: Picture) -> bytes:
    return os.pread(fd, picture.entry.length, picture.at)
