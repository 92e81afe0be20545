"""Packets out of streams and files through PyAV, without decoding: H.264, H.265 and Motion-JPEG."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from agent.clock import SystemClock
from agent.errors import PermanentError, TransientError, extra
from agent.frame import Codec
from agent.media import h264
from agent.media.h264 import ParameterSets
from agent.sources.device import Picture
from agent.sources.losses import Losses
from agent.sources.timeline import Timeline

NO_CAMERA = 66
PERMISSION = 77
UNUSABLE = 69
LONGEST_NAP_S = 1.0
CODECS = {"h264": Codec.H264, "hevc": Codec.H265, "mjpeg": Codec.JPEG}
MISSING = f"PyAV is not installed, which RTSP and video streams need: {extra('video')}"


def library() -> Any:
    """The module `av`; raises PermanentError that names the extra."""
    try:
        import av
    except ImportError:
        raise PermanentError(MISSING, UNUSABLE) from None
    return av


@dataclass(frozen=True, slots=True)
class Place:
    """Where packets come from. `url` may hold credentials, so it is never shown.

    `paced`: a film, given at its own pace (or at `fps`), which has an end; `loop` begins it again.
    """

    url: str
    options: Mapping[str, str]
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 10.0
    paced: bool = False
    loop: bool = False
    fps: float | None = None


class Packets:
    """An open stream as a device: its coded pictures, as they were sent.

    Raises TransientError and PermanentError in a few words without the address, which the caller adds.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._av = library()
        self._clock = SystemClock()
        self._timeline = Timeline(place.paced)
        self._given = self._lost = self._doubtful = 0
        self._opened = False
        self._losses = Losses(self._av) if place.options.get("rtsp_transport") == "udp" else None
        timeouts = (place.connect_timeout_s, place.read_timeout_s)
        try:
            self._file = self._av.open(place.url, options=dict(place.options), timeout=timeouts)
        except BaseException as e:
            self._hear_no_more()
            if isinstance(e, self._av.error.FFmpegError):
                raise self._failure(e) from None
            raise
        try:
            self._codec, self._stream = self._choose()
            self._sets, self._length_size = self._header()
        except BaseException:
            self.close()
            raise
        self._opened = True
        base = self._stream.time_base or Fraction(1, 90_000)
        self._tick_ns = (base.numerator * 1_000_000_000, base.denominator)
        self._packets: Iterator[Any] = self._file.demux(self._stream)

    @property
    def about(self) -> str:
        context = self._stream.codec_context
        return f"{context.width}x{context.height} {self._stream.codec_context.name}, passed through"

    @property
    def duration_s(self) -> float:
        """Of a film; 0 for what has no end."""
        return (self._file.duration or 0) / 1e6

    def read(self) -> list[Picture] | None:
        """The next picture; None at a film's end."""
        try:
            while True:
                packet = next(self._packets, None)
                if packet is None or not packet.size:  # the end, or PyAV's flush packet
                    if not self._rewind():
                        return None
                    continue
                if self._damaged():
                    self._lost += 1
                    continue
                picture = replace(self._picture(packet), lost=self._lost)
                self._lost = 0
                return [picture]
        except self._av.error.EOFError:
            raise TransientError("the camera ended the stream") from None
        except self._av.error.FFmpegError as e:
            raise self._failure(e) from None

    def close(self) -> None:
        self._file.close()
        self._hear_no_more()

    def _hear_no_more(self) -> None:
        if self._losses is not None:
            self._losses.close()
            self._losses = None

    def _damaged(self) -> bool:
        """Whether this picture may be of packets of which some did not come.

        libav gives a picture when the next one begins, so a loss may be this one's or the next one's. Of a JPEG with
        a hole it gives nothing.
        """
        if self._losses is not None and self._losses.heard():
            if self._codec is Codec.JPEG:
                self._lost += 1
            else:
                self._doubtful = 2
        self._doubtful -= (doubtful := self._doubtful > 0)
        return doubtful

    def _rewind(self) -> bool:
        if not self._place.paced:
            raise TransientError("the camera ended the stream")
        if not self._place.loop or not self._given:
            return False
        self._file.seek(0)
        self._packets = self._file.demux(self._stream)
        return True

    def _picture(self, packet: Any) -> Picture:
        data, key = bytes(packet), True
        if self._codec is not Codec.JPEG:
            if self._length_size:
                try:
                    data = h264.to_annexb(data, self._length_size)
                except ValueError as e:
                    raise TransientError(str(e)) from None
            key = h264.is_keyframe(self._codec, data)
            if key:
                found = h264.parameter_sets(self._codec, data)
                if found.complete:
                    self._sets = found  # what was said before the stream may be of another picture size
                else:
                    data = self._sets.annexb() + data
        stamp_ns, delay_us = self._times(packet)
        pts_ns = self._timeline.at(stamp_ns, self._clock.monotonic_ns())
        self._given += 1
        if self._place.paced:
            self._wait(pts_ns)
        return Picture(data, self._codec, key, pts_ns=pts_ns, delay_us=delay_us)

    def _times(self, packet: Any) -> tuple[int | None, int]:
        """When it is decoded, on the stream's own clock, and how much later it is shown."""
        if self._place.fps:
            return round(self._given * 1e9 / self._place.fps), 0
        stamp = packet.dts if packet.dts is not None else None
        if stamp is None and packet.pts is not None and not self._has_delay:
            stamp = packet.pts
        if stamp is None:
            return None, 0
        shown = packet.pts if packet.pts is not None else stamp
        return self._ns(stamp), max(0, self._ns(shown - stamp) // 1000)

    def _ns(self, ticks: int) -> int:
        return ticks * self._tick_ns[0] // self._tick_ns[1]

    @property
    def _has_delay(self) -> bool:
        return bool(self._stream.codec_context.has_b_frames)

    def _wait(self, pts_ns: int) -> None:
        left_s = (pts_ns - self._clock.monotonic_ns()) / 1e9
        if left_s > 0:
            time.sleep(min(left_s, LONGEST_NAP_S))

    def _choose(self) -> tuple[Codec, Any]:
        streams = self._file.streams.video
        if not streams:
            raise PermanentError("no video in this stream", UNUSABLE)
        name = streams[0].codec_context.name
        codec = CODECS.get({"libx264": "h264", "libx265": "hevc"}.get(name, name))
        if codec is None:
            raise PermanentError(f"it sends {name}; only H.264, H.265 and Motion-JPEG pass", UNUSABLE)
        return codec, streams[0]

    def _header(self) -> tuple[ParameterSets, int]:
        """Parameter sets as the container tells them, and the length size of its samples."""
        if self._codec is Codec.JPEG:
            return ParameterSets(Codec.JPEG, (), (), ()), 0
        try:
            return h264.from_header(self._codec, self._stream.codec_context.extradata or b"")
        except ValueError as e:
            raise PermanentError(str(e), UNUSABLE) from None

    def _failure(self, e: Exception) -> TransientError | PermanentError:
        """What went wrong in our words: the library's own would show the address with its password."""
        error = self._av.error
        if isinstance(e, error.HTTPUnauthorizedError | error.HTTPForbiddenError):
            return PermanentError("the camera refuses the user name or the password", PERMISSION)
        if isinstance(e, error.HTTPNotFoundError | error.FileNotFoundError):
            return PermanentError("the camera is there, but has no stream at this path", NO_CAMERA)
        if isinstance(e, error.HTTPClientError):
            return PermanentError("the camera refuses the request", UNUSABLE)
        if isinstance(e, error.ExitError | error.TimeoutError):
            if self._opened:
                return TransientError(f"no picture for {self._place.read_timeout_s:g} s")
            return TransientError(f"no answer within {self._place.connect_timeout_s:g} s")
        if isinstance(e, error.ConnectionRefusedError):
            return TransientError("connection refused")
        if isinstance(e, error.ConnectionResetError | error.BrokenPipeError):
            return TransientError("the connection broke")
        if isinstance(e, error.InvalidDataError):
            return _garbage(bool(self._given))
        strerror = getattr(e, "strerror", None)
        return TransientError(f"cannot be reached ({strerror.lower() if strerror else type(e).__name__})")


def _garbage(after_pictures: bool) -> TransientError | PermanentError:
    if after_pictures:
        return TransientError("the stream is damaged")
    return PermanentError("what comes from there is no video stream that I know", UNUSABLE)
