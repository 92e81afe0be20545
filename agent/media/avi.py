"""MJPEG in AVI files read as it was stored: where each picture lies, and how fast they go."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

MAX_PICTURE_BYTES = 64 * 1024 * 1024
MAX_PICTURES = 10_000_000

_CHUNK = struct.Struct("<4sI")
_LISTS = frozenset((b"AVI ", b"AVIX", b"hdrl", b"strl", b"movi", b"rec "))
_MJPEG = frozenset((b"MJPG", b"AVRN", b"DMB1", b"JPEG", b"LJPG", b"AVDJ"))


class NotMjpegAvi(ValueError):
    """The file is no AVI, or its pictures are coded otherwise."""


@dataclass(slots=True)
class AviIndex:
    """`pictures`: offset and length of each picture in the file; `fps`: pictures a second."""

    fps: float = 0.0
    pictures: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Reader:
    file: BinaryIO
    index: AviIndex = field(default_factory=AviIndex)
    streams: int = 0
    video: bytes = b""
    kind: bytes = b""
    scale: tuple[int, int] = (0, 0)


def read_index(file: BinaryIO) -> AviIndex:
    """Walk the chunks of an AVI (also OpenDML, also without an index, also cut off at the end).

    An empty chunk means the picture before it once more (a dropped one), so it is listed as that.
    Raises NotMjpegAvi. Format: Microsoft, "AVI RIFF File Reference"; OpenDML AVI extensions 1.02.
    """
    reader = _Reader(file)
    file.seek(0)
    head = file.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:12] != b"AVI ":
        raise NotMjpegAvi("not an AVI file")
    size = file.seek(0, 2)
    for kind, at, length in _chunks(file, 0, size):
        if kind != b"RIFF":
            break
        _walk(reader, at + 4, min(at + length, size))
    if not reader.video:
        raise NotMjpegAvi("an AVI file without MJPEG")
    return reader.index


def _chunks(file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset and length of the contents of each chunk between two offsets."""
    while at + 8 <= end:
        file.seek(at)
        name, length = _CHUNK.unpack(file.read(8))
        yield name, at + 8, length
        at += 8 + length + (length & 1)


def _walk(reader: _Reader, at: int, end: int) -> None:
    for name, start, length in _chunks(reader.file, at, end):
        stop = min(start + length, end)
        if name == b"LIST":
            reader.file.seek(start)
            if reader.file.read(4) in _LISTS:
                _walk(reader, start + 4, stop)
        elif name == b"strh":
            _stream(reader, start)
        elif name == b"strf" and not reader.video and reader.kind == b"vids":
            _format(reader, start)
        elif reader.video and name[:2] == reader.video and name[2:] in (b"dc", b"db"):
            _picture(reader.index, start, length, end)


def _stream(reader: _Reader, start: int) -> None:
    """The header of the next stream (AVISTREAMHEADER)."""
    reader.file.seek(start)
    data = reader.file.read(28).ljust(28, b"\0")
    reader.kind = data[:4]
    reader.scale = struct.unpack_from("<II", data, 20)
    reader.streams += 1


def _format(reader: _Reader, start: int) -> None:
    """The video stream's coding (BITMAPINFOHEADER.biCompression); only the first video stream counts."""
    reader.file.seek(start + 16)
    if reader.file.read(4).upper() in _MJPEG:
        reader.video = f"{reader.streams - 1:02d}".encode()
        scale, rate = reader.scale
        reader.index.fps = rate / scale if scale and rate else 0.0


def _picture(index: AviIndex, start: int, length: int, end: int) -> None:
    if len(index.pictures) >= MAX_PICTURES or length > MAX_PICTURE_BYTES:
        raise NotMjpegAvi(f"a picture of {length} bytes at byte {start}")
    if length and start + length <= end:
        index.pictures.append((start, length))
    elif not length and index.pictures:
        index.pictures.append(index.pictures[-1])
