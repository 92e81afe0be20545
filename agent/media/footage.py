"""Films as JPEGs in their order: MJPEG films, folders and rows of JPEGs as they are, other videos coded anew."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agent.errors import UsageError
from agent.media.avi import AviIndex, NotMjpegAvi, read_index
from agent.media.jpeg import START
from agent.media.multipart import Splitter

if TYPE_CHECKING:
    import cv2

NO_INPUT = 66
DEFAULT_FPS = 10.0
MAX_FPS = 1000.0
QUALITY = 90
_BLOCK_BYTES = 64 * 1024


class Footage(Protocol):
    """A film: each iteration gives its JPEGs from the first on; reading them may block on the disk."""

    @property
    def path(self) -> str: ...

    @property
    def fps(self) -> float:
        """Pictures a second."""
        ...

    def __iter__(self) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class AviFootage:
    """The stored bytes of an AVI's pictures."""

    path: str
    fps: float
    index: AviIndex

    def __iter__(self) -> Iterator[bytes]:
        with open(self.path, "rb") as file:
            for start, length in self.index.pictures:
                file.seek(start)
                data = file.read(length)
                if len(data) < length:
                    return
                yield data

    def __len__(self) -> int:
        return len(self.index.pictures)


@dataclass(frozen=True, slots=True)
class FolderFootage:
    """The JPEG files of a folder, by name."""

    path: str
    fps: float
    files: tuple[Path, ...]

    def __iter__(self) -> Iterator[bytes]:
        for file in self.files:
            if data := file.read_bytes():
                yield data

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True, slots=True)
class RowFootage:
    """One file with one JPEG or several behind each other."""

    path: str
    fps: float

    def __iter__(self) -> Iterator[bytes]:
        splitter = Splitter()
        with open(self.path, "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield from splitter.feed(block)


@dataclass(frozen=True, slots=True)
class PacketFootage:
    """The stored bytes of a video that OpenCV reads and that holds JPEGs: MJPEG in MKV, MP4, MOV and others."""

    path: str
    fps: float

    def __iter__(self) -> Iterator[bytes]:
        video = _packets(self.path)
        try:
            while True:
                good, packet = video.read()
                if not good:
                    return
                yield packet.tobytes()
        finally:
            video.release()


@dataclass(frozen=True, slots=True)
class CodedFootage:
    """Any other video that OpenCV reads; its pictures are coded as JPEGs of quality 90 while they are read."""

    path: str
    fps: float

    def __iter__(self) -> Iterator[bytes]:
        import cv2

        video = cv2.VideoCapture(self.path)
        try:
            while True:
                good, picture = video.read()
                if not good:
                    return
                yield cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
        finally:
            video.release()


class Reel:
    """Reads a film picture by picture without blocking the loop; `close` it."""

    def __init__(self, footage: Footage) -> None:
        self._footage = footage
        self._pictures = iter(footage)
        self._pending: asyncio.Future[bytes | None] | None = None

    async def next(self) -> bytes | None:
        """The next picture, None at the end; raises OSError and ValueError."""
        self._pending = asyncio.ensure_future(asyncio.to_thread(next, self._pictures, None))
        return await asyncio.shield(self._pending)

    def rewind(self) -> None:
        self._pictures = iter(self._footage)

    async def close(self) -> None:
        """Let go of the file, also where a read is under way (which is awaited for half a second)."""
        if self._pending is not None:
            await asyncio.wait([self._pending], timeout=0.5)
            if self._pending.done() and not self._pending.cancelled():
                self._pending.exception()
        if isinstance(self._pictures, Generator):
            with suppress(ValueError):
                self._pictures.close()


def open_footage(path: str | os.PathLike[str], fps: float | None = None) -> Footage:
    """The film at `path`; `fps` replaces its own pace (10 for pictures without one).

    Raises UsageError (exit 66) that names the path when there is none, or no picture in it.
    """
    text = os.fspath(path)
    if fps is not None and not 0 < fps <= MAX_FPS:
        raise UsageError(f"{text}: {fps:g} pictures a second, expected more than 0 and at most {MAX_FPS:g}")
    try:
        footage = _folder(text, fps) if os.path.isdir(text) else _file(text, fps)
        with closing(iter(footage)) as pictures:  # type: ignore[type-var]
            if next(pictures, None) is None:
                raise _refused(text, "no picture in it")
    except OSError as e:
        raise _refused(e.filename or text, (e.strerror or "cannot be read").lower()) from None
    except ValueError as e:
        raise _refused(text, str(e)) from None
    return footage


def _refused(path: str, why: str) -> UsageError:
    return UsageError(f"{path}: {why}", NO_INPUT)


def _folder(path: str, fps: float | None) -> Footage:
    files = sorted(f for f in Path(path).iterdir() if f.suffix.lower() in (".jpg", ".jpeg") and f.is_file())
    if not files:
        raise _refused(path, "no JPEG pictures (*.jpg) in this folder")
    return FolderFootage(path, fps or DEFAULT_FPS, tuple(files))


def _file(path: str, fps: float | None) -> Footage:
    if not os.path.isfile(path):
        os.stat(path)
        raise _refused(path, "not a file or folder")
    with open(path, "rb") as file:
        head = file.read(12)
        if not head:
            raise _refused(path, "the file is empty")
        if head.startswith(START):
            return RowFootage(path, fps or DEFAULT_FPS)
        try:
            index = read_index(file)
        except NotMjpegAvi:
            return _coded(path, fps)
    return AviFootage(path, fps or _sane(index.fps), index)


def _coded(path: str, fps: float | None) -> Footage:
    """A film in some other container: its JPEGs as they are, or its pictures coded anew."""
    video = _packets(path)
    import cv2  # after `_packets`, which keeps it from chattering

    try:
        if not video.isOpened():
            raise _refused(path, "not a video that I can read")
        pace = fps or _sane(video.get(cv2.CAP_PROP_FPS))
        good, packet = video.read()
        stored = good and packet.tobytes().startswith(START)
    finally:
        video.release()
    return PacketFootage(path, pace) if stored else CodedFootage(path, pace)


def _packets(path: str) -> cv2.VideoCapture:
    """The film's packets as they are stored, undecoded."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    import cv2

    return cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])


def _sane(fps: float) -> float:
    return fps if 0 < fps <= MAX_FPS else DEFAULT_FPS
