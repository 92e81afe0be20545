"""H.264 and H.265 coded anew as JPEGs, for what cannot be done to the camera's own bytes: privacy masks."""

from __future__ import annotations

from typing import Any

from agent.errors import TransientError
from agent.frame import Codec
from agent.sources.device import Device, Picture
from agent.sources.packets import library

QUALITY = 90
_NAMES = {Codec.H264: "h264", Codec.H265: "hevc"}


class Recoded:
    """A device whose pictures are decoded, all of them, and coded as JPEGs of quality 90; costs what decoding costs."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._av = library()
        self._context: Any = None
        self._codec: Codec | None = None
        self._lost = 0

    @property
    def about(self) -> str:
        return f"{self._device.about.removesuffix(', passed through')}, coded anew as JPEG"

    def read(self) -> list[Picture] | None:
        pictures = self._device.read()
        if pictures is None:
            return None
        found: list[Picture] = []
        while not found:
            for p in pictures:
                found += [p] if p.codec is Codec.JPEG else self._jpegs(p)
            if not found and (pictures := self._device.read()) is None:
                return None
        return found

    def close(self) -> None:
        self._device.close()

    def _jpegs(self, p: Picture) -> list[Picture]:
        if self._codec is not p.codec or p.lost:  # what leans on a lost picture would be smeared
            self._lost += p.lost
            self._codec = None
            if not p.keyframe:
                self._lost += 1
                return []
            self._codec = p.codec
            self._context = self._av.CodecContext.create(_NAMES[p.codec], "r")
            self._context.options = {"flags": "low_delay"}
            self._context.thread_count = 1
        try:
            images = self._context.decode(self._av.Packet(p.data))
        except self._av.error.FFmpegError:
            self._codec = None
            return []
        lost, self._lost = (self._lost, 0) if images else (0, self._lost)
        return [Picture(_jpeg(image), pts_ns=p.pts_ns, lost=0 if n else lost) for n, image in enumerate(images)]


def _jpeg(image: Any) -> bytes:
    import cv2

    good, coded = cv2.imencode(".jpg", image.to_ndarray(format="bgr24"), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not good:
        raise TransientError("a picture could not be coded anew")
    return coded.tobytes()
