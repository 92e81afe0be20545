"""picamera2 as a device: each request's main stream is coded, the Y plane of its lores stream is the luma."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import libcamera
import numpy as np
from picamera2 import Picamera2
from picamera2.encoders import H264Encoder, JpegEncoder, LibavH264Encoder, MJPEGEncoder, Quality
from picamera2.outputs import Output
from picamera2.platform import Platform, get_platform

from agent.errors import AgentError, PermanentError, TransientError
from agent.frame import Codec
from agent.sources.device import Picture
from agent.sources.holders import in_use

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.sources.picamera import PiCameraSource

log = logging.getLogger(__name__)
logging.getLogger("picamera2").setLevel(logging.WARNING)

NO_CAMERA = 66
LORES_WIDTH = 320
BUFFERS = 4
HARDWARE_ENCODER = "/dev/video11"
MAX_UNDER_WAY = 16
CLOSING_S = 5.0

_changing = threading.Lock()
"""picamera2's manager is one for all cameras: opening while another thread closes would mix them up."""


class PiCamera:
    """Opens, configures and starts the camera; reads back what libcamera made of it (it adjusts silently).

    Nothing here waits without a limit: a dead listener thread of picamera2 would block for ever.
    """

    def __init__(self, settings: PiCameraSource) -> None:
        self._timeout_s = settings.stall_timeout_s
        with _one_at_a_time():
            self._camera = _open(settings.camera)
        self._coder: _Jpegs | _Stream | None = None
        try:
            got = self._configure(settings)
            self._coder = _coder(settings, got["main"])
            self._camera.start()
        except BaseException as e:
            self.close()
            if isinstance(e, Exception) and not isinstance(e, AgentError):
                raise TransientError(f"the camera does not start ({e})") from None
            raise
        self._lores = got["lores"]["size"]
        width, height = got["main"]["size"]
        asked = "" if (width, height) == (settings.width, settings.height) else " (other than asked for)"
        self.about = f"{width}x{height}{asked} at {settings.fps:g} fps, {self._coder.about}"

    def _configure(self, s: PiCameraSource) -> dict[str, Any]:
        camera = self._camera
        height = max(2, round(LORES_WIDTH * s.height / s.width / 2) * 2)
        lores = (LORES_WIDTH, height) if s.width >= LORES_WIDTH else (s.width, s.height)
        config = camera.create_video_configuration(
            main={"size": (s.width, s.height), "format": "YUV420"},
            lores={"size": lores, "format": "YUV420"},
            buffer_count=BUFFERS,
            transform=libcamera.Transform(hflip=s.hflip, vflip=s.vflip),
            controls={k: v for k, v in _controls(s).items() if self._has(k)},
        )
        camera.configure(config)
        got: dict[str, Any] = camera.camera_configuration()
        return got

    def _has(self, control: str) -> bool:
        if control in self._camera.camera_controls:
            return True
        if control not in ("AfMode", "AwbMode"):
            log.warning("%s: this camera has no control %s", self._camera.camera_properties.get("Model"), control)
        return False

    def read(self) -> list[Picture]:
        assert self._coder is not None
        try:
            request = self._camera.capture_request(wait=self._timeout_s)
        except TimeoutError:
            raise TransientError(f"no picture for {self._timeout_s:g} s") from None
        except RuntimeError as e:
            raise TransientError(f"the camera fails ({e})") from None
        try:
            width, height = self._lores
            # In YUV420 and NV12 alike the first rows are the Y plane; a row may be longer than the picture.
            luma = np.ascontiguousarray(request.make_array("lores")[:height, :width])
            return self._coder.code(request, luma)
        except (RuntimeError, OSError) as e:
            raise TransientError(f"the picture cannot be coded ({e})") from None
        finally:
            request.release()

    def close(self) -> None:
        try:
            if self._coder is not None:
                self._coder.close()
        finally:
            # Jobs of a listener that died would be waited for without an end.
            self._camera.cancel_all_and_flush()
            with _one_at_a_time():
                self._camera.close()


class _Jpegs:
    """Each picture coded where it is read: no queue, and an error is an error here."""

    def __init__(self, quality: int) -> None:
        self._encoder = JpegEncoder(num_threads=1, q=quality)
        self.about = f"MJPEG of quality {quality} in software"

    def code(self, request: Any, luma: NDArray[np.uint8]) -> list[Picture]:
        return [Picture(bytes(self._encoder.encode_func(request, "main")), luma=luma)]

    def close(self) -> None:
        pass


class _Stream(Output):  # type: ignore[misc]
    """An encoder of picamera2's, driven from here, whose frames find their luma again by the sensor's time."""

    def __init__(self, encoder: Any, codec: Codec, stream: dict[str, Any], quality: Quality | None, fps: float) -> None:
        super().__init__()
        self.codec = codec
        self.about = f"{codec.name} by {type(encoder).__name__}"
        self._encoder = encoder
        self._lumas: dict[int, NDArray[np.uint8]] = {}
        self._ready: deque[Picture] = deque(maxlen=MAX_UNDER_WAY)
        encoder.output = self
        encoder.name = "main"
        encoder.width, encoder.height = stream["size"]
        encoder.format, encoder.stride = stream["format"], stream["stride"]
        encoder.framerate = max(1, round(fps))
        encoder.start(quality=quality)

    def code(self, request: Any, luma: NDArray[np.uint8]) -> list[Picture]:
        stamp_us = request.get_metadata().get("SensorTimestamp", 0) // 1000
        if self._encoder.firsttimestamp is None:
            self._lumas.clear()
        self._lumas[stamp_us] = luma
        while len(self._lumas) > MAX_UNDER_WAY:
            del self._lumas[next(iter(self._lumas))]
        self._encoder.encode("main", request)
        return [self._ready.popleft() for _ in range(len(self._ready))]

    def outputframe(
        self, frame: Any, keyframe: bool = True, timestamp: int | None = None, packet: Any = None, audio: bool = False
    ) -> None:
        stamp_us = (self._encoder.firsttimestamp or 0) + (timestamp or 0)
        keyframe = keyframe or self.codec is Codec.JPEG
        self._ready.append(Picture(bytes(frame), self.codec, keyframe, self._lumas.pop(stamp_us, None)))

    def close(self) -> None:
        self._encoder.stop()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """For a while: a close that hangs keeps its own camera, not the others."""
    mine = _changing.acquire(timeout=CLOSING_S)
    try:
        yield
    finally:
        if mine:
            _changing.release()


def _open(wanted: int | str) -> Any:
    cameras = Picamera2.global_camera_info()
    number = wanted if isinstance(wanted, int) else _number(cameras, wanted)
    if number is None or number >= len(cameras):
        there = ", ".join(f"{c['Num']} {c['Model']} {c['Id']}" for c in cameras) or "none"
        raise PermanentError(f"no such camera (there is: {there})", NO_CAMERA)
    try:
        return Picamera2(number)
    except RuntimeError as e:
        raise TransientError(f"the camera does not open ({e}; {in_use('/dev/video0', '/dev/media0')})") from None


def _number(cameras: list[Any], wanted: str) -> int | None:
    """The index of the camera with that id or model."""
    return next((i for i, c in enumerate(cameras) if wanted in (c["Id"], c.get("Model"))), None)


def _controls(s: PiCameraSource) -> dict[str, Any]:
    frame_us = round(1e6 / s.fps)
    controls: dict[str, Any] = {"FrameDurationLimits": (frame_us, frame_us)}
    if s.exposure_us or s.gain:
        controls["AeEnable"] = not (s.exposure_us and s.gain)
    if s.exposure_us:
        controls["ExposureTime"] = s.exposure_us
    if s.gain:
        controls["AnalogueGain"] = s.gain
    controls["AwbMode"] = getattr(libcamera.controls.AwbModeEnum, s.awb.capitalize())
    af = libcamera.controls.AfModeEnum
    controls["AfMode"] = af.Continuous if s.focus == "auto" else af.Manual
    if s.focus == "manual":
        controls["LensPosition"] = s.lens_position
    return controls


def _coder(s: PiCameraSource, stream: dict[str, Any]) -> _Jpegs | _Stream:
    hardware = get_platform() == Platform.VC4 and os.path.exists(HARDWARE_ENCODER)
    if s.encoder == "hardware" and not hardware:
        raise PermanentError("encoder: this machine has no hardware encoder (a Pi up to 4 has)")
    hardware = hardware and s.encoder != "software"
    if s.codec == "mjpeg":
        if not hardware:
            return _Jpegs(s.quality)
        return _Stream(MJPEGEncoder(), Codec.JPEG, stream, _quality(s.quality), s.fps)
    kind = H264Encoder if hardware else LibavH264Encoder
    encoder = kind(bitrate=s.bitrate_kbps * 1000 or None, repeat=True, iperiod=max(1, round(s.fps * s.keyframe_s)))
    return _Stream(encoder, Codec.H264, stream, None if s.bitrate_kbps else _quality(s.quality), s.fps)


def _quality(percent: int) -> Quality:
    steps = ((90, Quality.VERY_HIGH), (75, Quality.HIGH), (50, Quality.MEDIUM), (25, Quality.LOW))
    return next((q for least, q in steps if percent >= least), Quality.VERY_LOW)
