"""MJPEG in AVI files that ordinary players open: everything around the pictures, from their sizes alone.

A file is `head`, then for each picture `chunk`, its bytes and `padding`, then `tail`. Format: Microsoft, "AVI RIFF
File Reference".
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from statistics import median

_CHUNK = struct.Struct("<4sI")
_ENTRY = struct.Struct("<4sIII")
_KEYFRAME = 0x10
_HAS_INDEX = 0x10
_HEADERS = 4 + 8 + 56 + 8 + 4 + 8 + 56 + 8 + 40  # of the list `hdrl`, its name included
_PICTURE = b"00dc"
MAX_REPEATS = 25


def pace(walls_ns: Sequence[int]) -> tuple[int, list[int]]:
    """(microseconds to a picture, how often each is shown) so that a player shows them when they were taken.

    AVI has one rate; where pictures are missing the one before stands longer, 25 times at most.
    """
    gaps = [max(b - a, 0) for a, b in itertools.pairwise(walls_ns)]
    step = max(round(median(gaps) / 1000), 1000) if gaps else 100_000
    shown = [min(max(round(gap / 1000 / step), 1), MAX_REPEATS) for gap in gaps]
    return step, [*shown, 1]


def parts(walls_ns: Sequence[int], sizes: Sequence[int], width: int, height: int) -> list[bytes | int]:
    """A whole file, in order: bytes, and a picture's number where its own are to stand.

    `walls_ns`: when the pictures were taken; `sizes`: theirs in bytes; `width` and `height`: of the first, 0 unknown.
    """
    step_us, shown = pace(walls_ns)
    all_sizes: list[int] = []
    middle: list[bytes | int] = []
    for n, (size, times) in enumerate(zip(sizes, shown, strict=True)):
        all_sizes += [size, *[0] * (times - 1)]
        middle += [chunk(size), n, padding(size) + chunk(0) * (times - 1)]
    return [head(all_sizes, step_us, width, height), *middle, tail(all_sizes)]


def length(sizes: Sequence[int]) -> int:
    """Of the whole file. `sizes`: of the pictures, 0 for one that stands for the one before."""
    return 12 + 8 + _HEADERS + 12 + _pictures(sizes) + 8 + _ENTRY.size * len(sizes)


def head(sizes: Sequence[int], step_us: int, width: int, height: int) -> bytes:
    """Everything before the first picture."""
    largest = max(sizes, default=0)
    avih = struct.pack(
        "<14I",
        step_us,
        largest * 1_000_000 // step_us,
        0,
        _HAS_INDEX,
        len(sizes),
        0,
        1,
        largest,
        width,
        height,
        *[0] * 4,
    )
    strh = struct.pack(
        "<4s4sIHHIIIIIIII4H", b"vids", b"MJPG", 0, 0, 0, 0, step_us, 1_000_000, 0, len(sizes), largest, 2**32 - 1, 0,
        *(0, 0, min(width, 65535), min(height, 65535)),
    )  # fmt: skip
    strf = struct.pack("<IiiHH4sIiiII", 40, width, height, 1, 24, b"MJPG", width * height * 3, 0, 0, 0, 0)
    strl = _list(b"strl", _chunk(b"strh", strh) + _chunk(b"strf", strf))
    hdrl = _list(b"hdrl", _chunk(b"avih", avih) + strl)
    movi = _CHUNK.pack(b"LIST", 4 + _pictures(sizes)) + b"movi"
    return _CHUNK.pack(b"RIFF", length(sizes) - 8) + b"AVI " + hdrl + movi


def chunk(size: int) -> bytes:
    """What stands before a picture's bytes."""
    return _CHUNK.pack(_PICTURE, size)


def padding(size: int) -> bytes:
    """What stands behind them."""
    return b"\0" * (size & 1)


def tail(sizes: Sequence[int]) -> bytes:
    """The index behind the last picture."""
    entries, at = [], 4
    for size in sizes:
        entries.append(_ENTRY.pack(_PICTURE, _KEYFRAME, at, size))
        at += 8 + size + (size & 1)
    return _CHUNK.pack(b"idx1", _ENTRY.size * len(sizes)) + b"".join(entries)


def _pictures(sizes: Sequence[int]) -> int:
    return sum(8 + size + (size & 1) for size in sizes)


def _chunk(name: bytes, data: bytes) -> bytes:
    return _CHUNK.pack(name, len(data)) + data


def _list(name: bytes, data: bytes) -> bytes:
    return _chunk(b"LIST", name + data)
