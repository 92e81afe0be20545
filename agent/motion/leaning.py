"""H.264 and H.265 for the detector: decodes keyframes always, and of the rest what its share of a core allows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.errors import extra
from agent.frame import Codec, Frame
from agent.media import jpeg

if TYPE_CHECKING:
    from agent.motion.planes import Plane

SHARE = 0.25
SAVED_S = 1.0
STILL_WIDTH = 640
STILL_QUALITY = 85
_NAMES = {Codec.H264: "h264", Codec.H265: "hevc"}
_EIGHT_BITS = frozenset(("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "gray"))


class LeaningEye:
    """Sees frames that lean on others; each look decodes those between the last look and this one.

    At most `share` of one core is spent on that, a second's worth may be saved up. When it is spent, the rest of
    the group is left out, or what comes before there is enough again; the next keyframe is always looked at.
    Deterministic but for that.
    """

    def __init__(self, share: float = SHARE) -> None:
        self._share = share
        self._context: Any = None
        self._codec: Codec | None = None
        self._fed: Frame | None = None
        self._key_ns: int | None = None
        self._skipped_ns: int | None = None
        self._picture: Any = None
        self._credit_s = SAVED_S
        self._cost_s = 0.0
        self._seen_ns: int | None = None
        self.decoded = 0

    def look(self, frame: Frame) -> Plane | None:
        """The frame's luma plane in full size; None where nothing new could be decoded for now.

        Raises ValueError where it does not decode, or its group is too long to be kept, or PyAV is missing.
        """
        self._earn(frame)
        way = self._way(frame)
        if not way or (way[0].keyframe and way[0].pts_ns == self._skipped_ns):
            return None
        if way[0].keyframe:
            self._key_ns = way[0].pts_ns
        if len(way) * self._cost_s > self._credit_s:
            self._skipped_ns = self._key_ns
            if not way[0].keyframe:
                self._fed = None
                return None
            way = way[:1]
        self._decode(way)
        if self._picture is None:
            return None
        return _luma(self._picture)

    def still(self) -> bytes:
        """A JPEG of the picture last seen, at most 640 wide, marked in a comment as derived; b"" before any."""
        if self._picture is None:
            return b""
        picture = self._picture
        width = min(STILL_WIDTH, picture.width)
        height = max(1, round(picture.height * width / picture.width))
        image = picture.reformat(width, height, "bgr24").to_ndarray()
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, STILL_QUALITY])[1].tobytes()
        return jpeg.derived(data, _NAMES[self._codec or Codec.H264])

    def _earn(self, frame: Frame) -> None:
        if self._seen_ns is not None and frame.pts_ns > self._seen_ns:
            earned_s = (frame.pts_ns - self._seen_ns) / 1e9 * self._share
            self._credit_s = min(SAVED_S, self._credit_s + earned_s)
        self._seen_ns = frame.pts_ns

    def _way(self, frame: Frame) -> list[Frame]:
        """The frames to decode in order, this one last: from the one after the last fed, or from the keyframe."""
        way: list[Frame] = []
        at: Frame | None = frame
        while at is not None and (self._fed is None or at.pts_ns != self._fed.pts_ns):
            way.append(at)
            if at.keyframe:
                break
            at = at.prior
            if at is None:
                raise ValueError("the group of pictures is too long to be looked at")
        return way[::-1]

    def _decode(self, way: list[Frame]) -> None:
        begin = time.thread_time()
        if way[0].keyframe:
            self._restart(way[0].codec)
        try:
            for frame in way:
                for picture in self._context.decode(self._av.Packet(frame.data)):
                    self._picture = picture
        except self._av.error.FFmpegError as e:
            self._fed = None
            raise ValueError(f"the {_NAMES[way[0].codec]} does not decode ({getattr(e, 'strerror', e)})") from None
        self._fed = way[-1]
        self.decoded += len(way)
        spent_s = time.thread_time() - begin
        self._credit_s = max(-SAVED_S, self._credit_s - spent_s)
        each_s = spent_s / len(way)
        self._cost_s += 0.2 * (each_s - self._cost_s) if self._cost_s else each_s

    def _restart(self, codec: Codec) -> None:
        if self._context is not None and self._codec is codec:
            self._context.flush_buffers()
            return
        try:
            import av
        except ImportError:
            raise ValueError(f"to see it, PyAV is needed: {extra('video')}") from None
        self._av: Any = av
        self._codec = codec
        # Pictures that nothing leans on need no deblocking; leaving it out of others would drift until the keyframe.
        self._context = av.CodecContext.create(_NAMES[codec], "r")
        self._context.options = {"skip_loop_filter": "noref", "flags": "low_delay"}
        self._context.thread_count = 1


def _luma(picture: Any) -> Plane:
    if picture.format.name not in _EIGHT_BITS:
        picture = picture.reformat(format="gray")
    plane = picture.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: picture.height, : picture.width]
