"""A Raspberry Pi's camera through picamera2: one stream coded for the clips, a small one straight to motion."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from agent.errors import ConfigError, PermanentError, UsageError, pip_install
from agent.schema import above, at_least, at_most
from agent.sources import Publish
from agent.sources.device import Device, capture

NO_CAMERA = 66
CODECS = ("mjpeg", "h264")
ENCODERS = ("auto", "hardware", "software")
AWB = ("auto", "tungsten", "fluorescent", "indoor", "daylight", "cloudy")
FOCUS = ("auto", "manual")

_APT = "sudo apt install python3-picamera2 --no-install-recommends"
_VENV = "python3 -m venv --system-site-packages"
_OLD = "'numpy<2' 'opencv-python-headless<4.12'"


@dataclass(frozen=True, slots=True, kw_only=True)
class PiCameraSource:
    """`camera`: its number, or its id or model (`camera-agent cameras` shows them).

    `codec` mjpeg or h264; `encoder` hardware (up to the Pi 4), software, or auto. `exposure_us`, `gain` and
    `lens_position` (in dioptres: 0 is infinity, 10 is 10 cm) take that control out of the camera's hands.
    """

    camera: int | str = 0
    width: Annotated[int, at_least(64), at_most(4096)] = 640
    height: Annotated[int, at_least(64), at_most(4096)] = 480
    fps: Annotated[float, above(0), at_most(120)] = 10.0
    codec: str = "mjpeg"
    encoder: str = "auto"
    quality: Annotated[int, at_least(1), at_most(100)] = 85
    bitrate_kbps: Annotated[int, at_least(0), at_most(25000)] = 0
    keyframe_s: Annotated[float, above(0), at_most(10)] = 1.0
    hflip: bool = False
    vflip: bool = False
    exposure_us: Annotated[int, at_least(0), at_most(60_000_000)] = 0
    gain: Annotated[float, at_least(0), at_most(64)] = 0.0
    awb: str = "auto"
    focus: str = "auto"
    lens_position: Annotated[float, at_least(0), at_most(32)] = 0.0
    stall_timeout_s: Annotated[float, above(0), at_most(3600)] = 10.0

    def __post_init__(self) -> None:
        for key, words in (("codec", CODECS), ("encoder", ENCODERS), ("awb", AWB), ("focus", FOCUS)):
            if getattr(self, key) not in words:
                raise ConfigError(f"{key}: expected one of {', '.join(words)}")
        if self.width % 2 or self.height % 2:
            raise ConfigError("width and height: expected even numbers")
        if self.camera == "" or (isinstance(self.camera, int) and self.camera < 0):
            raise ConfigError("camera: expected a number from 0 on, or an id")

    @classmethod
    def from_url(cls, text: str) -> Self:
        """`picamera`, `picamera://1` or `picamera://imx708`; raises UsageError (exit 66)."""
        name = text.partition("://")[2]
        try:
            return cls(camera=int(name) if name.isascii() and name.isdigit() else name or 0)
        except ConfigError as e:
            raise UsageError(f"no such camera: {e}", NO_CAMERA) from None

    @property
    def label(self) -> str:
        return f"picamera://{self.camera}"

    async def run(self, publish: Publish) -> None:
        await capture(self.label, self._open, publish, self.stall_timeout_s)

    def _open(self) -> Device:
        try:
            from agent.sources.libcamera import PiCamera
        except ImportError as e:
            raise PermanentError(f"picamera2 is not here ({e}): {cure()}") from None
        except ValueError as e:  # numpy's binary interface: apt's simplejpeg, pip's numpy
            raise PermanentError(f"picamera2 does not load ({e}): {cure()}") from None
        return PiCamera(self)


def cure() -> str:
    """What to do when picamera2 cannot be imported: it comes from apt, and pip has no working one."""
    if sys.prefix == sys.base_prefix:
        return _APT
    try:
        settings = Path(sys.prefix, "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        settings = ""
    if "include-system-site-packages = true" in settings.lower():
        return f"{_APT}; if it is there, keep its numpy: {pip_install(_OLD)}"
    return f"{_APT}; this environment does not see apt's packages, until: {_VENV} {shlex.quote(sys.prefix)}"
