"""OpenCV's VideoCapture as a webcam that gives JPEGs: the device's own, or coded here when it has none."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import cv2
import numpy as np

from agent.errors import TransientError
from agent.sources.webcam import QUALITY, own_jpeg

_MJPG = "MJPG"


class OpenCvCamera:
    """Asks for MJPEG of this size and rate and reads back what the driver made of it (drivers fall back silently).

    Raises TransientError when the device does not open. `raw`: the camera's own JPEGs; `encoded` counts others.
    """

    def __init__(self, device: int | str, width: int, height: int, fps: float) -> None:
        linux = sys.platform.startswith("linux")
        self._video = cv2.VideoCapture(device, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
        if not self._video.isOpened():
            self._video.release()
            raise TransientError("the webcam does not open (in use by another program?)")
        self._video.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*_MJPG))
        self._video.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        self._video.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        self._video.set(cv2.CAP_PROP_FPS, fps)
        code = int(self._video.get(cv2.CAP_PROP_FOURCC))
        self.raw = linux and code == cv2.VideoWriter.fourcc(*_MJPG)
        if self.raw:
            self.raw = bool(self._video.set(cv2.CAP_PROP_CONVERT_RGB, 0))
        self.size = (int(self._video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(self._video.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        self.fps = float(self._video.get(cv2.CAP_PROP_FPS))
        self.encoded = 0

    def read(self) -> bytes | None:
        good, picture = self._video.read()
        if not good or picture is None:
            return None
        # Some drivers say MJPG and deliver pixels: what is no row of bytes is coded here.
        if self.raw and (picture.ndim == 1 or 1 in picture.shape[:2]):
            return own_jpeg(np.asarray(picture, np.uint8).tobytes())
        self.encoded += 1
        coded, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        return bytes(data.tobytes()) if coded else None

    def close(self) -> None:
        self._video.release()
