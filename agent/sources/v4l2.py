"""OpenCV's VideoCapture as a webcam that gives JPEGs: the device's own, or coded here when it has none."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
# How long a read may block on a device that hangs; OpenCV's own value is 10 s.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "5")

import cv2
import numpy as np

from agent.errors import TransientError
from agent.sources.device import Picture
from agent.sources.holders import in_use
from agent.sources.webcam import QUALITY, own_jpeg

_MJPG = cv2.VideoWriter.fourcc(*"MJPG")


class OpenCvCamera:
    """Asks for MJPEG of this size and rate and reads back what the driver made of it (drivers fall back silently).

    Raises TransientError when the device does not open. `raw`: the camera's own JPEGs; `encoded` counts others.
    """

    def __init__(self, device: int | str, width: int, height: int, fps: float) -> None:
        linux = sys.platform.startswith("linux")
        self._device = device
        self._video = cv2.VideoCapture(device, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
        if not self._video.isOpened():
            self._video.release()
            raise TransientError(f"the webcam does not open ({self._in_use()})")
        for what, value in (
            (cv2.CAP_PROP_FOURCC, _MJPG),
            (cv2.CAP_PROP_FRAME_WIDTH, width),
            (cv2.CAP_PROP_FRAME_HEIGHT, height),
            (cv2.CAP_PROP_FPS, fps),
        ):
            self._video.set(what, value)
        code = int(self._video.get(cv2.CAP_PROP_FOURCC))
        self.raw = linux and code == _MJPG and bool(self._video.set(cv2.CAP_PROP_CONVERT_RGB, 0))
        self.format = code.to_bytes(4, "little", signed=code < 0).decode("latin-1").strip("\0 ")
        self.size = (int(self._video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(self._video.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        self.fps = float(self._video.get(cv2.CAP_PROP_FPS))
        self.encoded = 0
        self._asked = f"{width}x{height}"

    @property
    def about(self) -> str:
        size = f"{self.size[0]}x{self.size[1]}"
        asked = "" if size == self._asked else f" ({self._asked} was asked for)"
        way = "the camera's own JPEGs" if self.raw else "coded to JPEG here"
        return f"{size}{asked} {self.format or '?'} at {self.fps:g} fps, {way}"

    def read(self) -> list[Picture]:
        try:
            good, picture = self._video.read()
        except cv2.error as e:
            raise TransientError(f"the webcam fails ({e.err or e.code})") from None
        if not good or picture is None:
            if isinstance(self._device, str) and not os.path.exists(self._device):
                raise TransientError("the webcam was unplugged")
            return []
        # Some drivers say MJPG and deliver pixels: what is no row of bytes is coded here.
        if self.raw and (picture.ndim == 1 or 1 in picture.shape[:2]):
            data = own_jpeg(np.asarray(picture, np.uint8).tobytes())
            return [Picture(data)] if data else []
        self.encoded += 1
        coded, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        return [Picture(jpeg.tobytes())] if coded else []

    def close(self) -> None:
        self._video.release()

    def _in_use(self) -> str:
        return in_use(self._device if isinstance(self._device, str) else f"/dev/video{self._device}")
