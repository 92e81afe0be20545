"""A video file or folder of JPEGs as coded pictures, read with OpenCV's FFmpeg without decoding Motion-JPEG."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2

from agent.errors import PermanentError
from agent.exits import NO_CAMERA


class RawClip:
    """Iterates over JPEG bytes; other codecs are decoded and coded anew at quality 95. `fps` is the file's, else 10."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.fps = 10.0
        if not path.exists():
            raise PermanentError(f"{path}: no such clip", NO_CAMERA)
        if path.is_file():
            capture = self._open()
            self.fps = float(capture.get(cv2.CAP_PROP_FPS)) or 10.0
            capture.release()

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise PermanentError(f"{self._path}: no video that can be read", NO_CAMERA)
        return capture

    def __iter__(self) -> Iterator[bytes]:
        if self._path.is_dir():
            for name in sorted(p for p in self._path.iterdir() if p.suffix.lower() in (".jpg", ".jpeg")):
                yield name.read_bytes()
            return
        capture = self._open()
        coded = int(capture.get(cv2.CAP_PROP_FOURCC)) == cv2.VideoWriter.fourcc(*"MJPG")
        if coded:
            capture.set(cv2.CAP_PROP_FORMAT, -1)
        while True:
            ok, picture = capture.read()
            if not ok:
                return
            yield picture.tobytes() if coded else cv2.imencode(".jpg", picture)[1].tobytes()


def open_footage(path: str | Path) -> RawClip:
    """Raises PermanentError for what is not there or cannot be read."""
    return RawClip(Path(path))
