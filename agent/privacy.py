"""Parts of the picture that nobody may see: painted black before a frame goes anywhere.

The one exception to untouched bytes. The picture is decoded, painted and coded anew, so nothing of the covered pixels
can be in what leaves: not in a coefficient that reaches over the edge, not in a thumbnail of the camera's header. It
is the cheapest way that is opaque without trusting our own reading of entropy-coded data.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from agent.errors import PermanentError
from agent.frame import Codec, Frame
from agent.motion import polygons
from agent.motion.polygons import Polygon
from agent.sources import Publish, Source

log = logging.getLogger(__name__)

QUALITY = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacySettings:
    """`masks`: outlines, in shares of the picture from its top left corner, that are painted black."""

    masks: tuple[Polygon, ...] = ()

    def __post_init__(self) -> None:
        for i, outline in enumerate(self.masks):
            polygons.check(outline, f"masks[{i}]")


class Painted:
    """A source whose pictures are painted; one that cannot be painted is not published, and counted."""

    def __init__(self, source: Source, settings: PrivacySettings) -> None:
        self._source = source
        self._masks = settings.masks
        self.withheld = 0

    @property
    def label(self) -> str:
        return self._source.label

    async def run(self, publish: Publish) -> None:
        """See `Source.run`; raises PermanentError for a camera that sends no JPEGs."""
        await self._source.run(self._painter(publish))

    def _painter(self, publish: Publish) -> Publish:
        def paint_and_publish(frame: Frame) -> int | None:
            if frame.codec is not Codec.JPEG:
                codec = frame.codec.name
                why = f"privacy masks need a camera that sends JPEGs, not {codec}: set reencode: true (or codec: mjpeg)"
                raise PermanentError(f"{self.label}: {why}")
            try:
                data = paint(frame.data, self._masks)
            except ValueError as e:
                self.withheld += 1
                level = logging.WARNING if self.withheld == 1 else logging.DEBUG
                log.log(level, "%s: a picture could not be painted and is withheld: %s", self.label, e)
                return None
            return publish(replace(frame, data=data, luma=None, altered=True))

        return paint_and_publish


def paint(data: bytes, masks: tuple[Polygon, ...]) -> bytes:
    """The JPEG with the outlines filled black; raises ValueError for what does not decode."""
    import cv2
    import numpy as np

    from agent.motion.luma import picture

    canvas = picture(data)
    height, width = canvas.shape[:2]
    for outline in masks:
        points = np.array([(round(x * width), round(y * height)) for x, y in outline], np.int32)
        cv2.fillPoly(canvas, [points], (0, 0, 0))
        # Rounded corners may have lost a pixel of the edge.
        cv2.polylines(canvas, [points], True, (0, 0, 0), 3)
    return cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
