"""A webcam through OpenCV, read in a thread of its own; its own JPEG bytes where it offers MJPEG."""

from __future__ import annotations

import glob
import os
import re
import sys
from dataclasses import dataclass, field
from typing import Annotated, Self

from agent.errors import ConfigError, PermanentError, TransientError, UsageError
from agent.media.jpeg import END, BrokenJpeg, end_of_image
from agent.schema import above, at_least, at_most
from agent.sources import Publish
from agent.sources.device import Device, capture

NO_CAMERA = 66
PERMISSION = 77
QUALITY = 90


@dataclass(frozen=True, slots=True)
class WebcamSource:
    """`device`: a number or a path (`/dev/v4l/by-id/…` survives replugging); the driver may choose other sizes.

    `stall_timeout_s`: no picture for so long: open it anew.
    """

    device: int | str = 0
    width: Annotated[int, at_least(16), at_most(8192)] = 640
    height: Annotated[int, at_least(16), at_most(8192)] = 480
    fps: Annotated[float, above(0), at_most(240)] = 10.0
    stall_timeout_s: Annotated[float, above(0), at_most(3600)] = 15.0
    _stable: list[str] = field(init=False, default_factory=list, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.device == "" or (isinstance(self.device, int) and self.device < 0):
            raise ConfigError("device: expected a number from 0 on or a path like /dev/video0")

    @classmethod
    def from_url(cls, text: str) -> Self:
        """`0`, `/dev/video0` or `webcam://0`; raises UsageError (exit 66)."""
        name = re.sub(r"(?i)^webcam://", "", text) or "0"
        if not (name.isascii() and name.isdigit() and len(name) < 6) and not name.startswith("/dev/"):
            raise UsageError(f"no such camera: '{name}' (a webcam is 0, 1, … or /dev/videoN)", NO_CAMERA)
        return cls(int(name) if name.isdigit() else name)

    @property
    def path(self) -> str:
        return f"/dev/video{self.device}" if isinstance(self.device, int) else self.device

    @property
    def label(self) -> str:
        return self.path

    async def run(self, publish: Publish) -> None:
        await capture(self.path, self._open, publish, self.stall_timeout_s)

    def _open(self) -> Device:
        from agent.sources.v4l2 import OpenCvCamera

        device = self._where()
        camera = OpenCvCamera(device, self.width, self.height, self.fps)
        if not self._stable and isinstance(device, str):
            # Plugged in again it may get another number: this name it keeps.
            self._stable.append(stable_path(device))
        return camera

    def _where(self) -> int | str:
        """What OpenCV shall open; raises PermanentError where there is no device, or not for us."""
        if not sys.platform.startswith("linux"):
            return self.device
        path = next((p for p in (*self._stable, self.path) if os.path.exists(p)), "")
        if not path and self._stable:
            raise TransientError("no such webcam any more: is it unplugged?")
        if not path:
            raise PermanentError("no such webcam", NO_CAMERA)
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermanentError("not permitted (is the user in the group 'video'?)", PERMISSION)
        return os.path.realpath(path)


def stable_path(device: str, root: str = "/dev/v4l") -> str:
    """The name of `/dev/videoN` in `root`/by-id (or by-path), which a plug pulled does not change; else itself."""
    for folder in ("by-id", "by-path"):
        for link in sorted(glob.glob(f"{root}/{folder}/*")):
            if os.path.realpath(link) == os.path.realpath(device):
                return link
    return device


def own_jpeg(data: bytes) -> bytes | None:
    """What a driver left in its buffer, cut behind the end of the picture; None when there is no whole one."""
    if data.endswith(END) and data.startswith(b"\xff\xd8\xff"):
        return data
    try:
        end = end_of_image(data)
    except BrokenJpeg:
        return None
    return data[:end] if end is not None else None
