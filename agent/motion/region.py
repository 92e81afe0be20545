"""Zones and masks on the small plane: where to look, and how closely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.motion.tuning import evidence_factor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.motion import MotionSettings, Zone
    from agent.motion.planes import Floats, Plane
    from agent.motion.polygons import Polygon

FINE = 8
"""outlines are drawn this much finer than the plane; a pixel more than half inside is inside"""


@dataclass(frozen=True, slots=True)
class Region:
    """`looked`: 255 where motion counts, None for everywhere; `weight`: evidence of each pixel times this, or None."""

    looked: Plane | None
    weight: Floats | None
    zones: tuple[tuple[str, Plane], ...]

    def zone(self, x: float, y: float) -> str:
        """The name of the first zone that holds the point (pixels of the plane), "" for none."""
        for name, inside in self.zones:
            if inside[min(int(y), inside.shape[0] - 1), min(int(x), inside.shape[1] - 1)]:
                return name
        return ""


def region(settings: MotionSettings, shape: tuple[int, ...]) -> Region:
    """What the settings say of a plane of this shape (height, width)."""
    zones = tuple((z.name, inside([z.points], shape)) for z in settings.zones)
    looked = None
    if zones or settings.masks:
        looked = inside([z.points for z in settings.zones], shape) if zones else np.full(shape, 255, np.uint8)
        looked[inside(settings.masks, shape) > 0] = 0
    return Region(looked, _weight(settings.zones, zones, settings.sensitivity, shape), zones)


def _weight(
    zones: tuple[Zone, ...], planes: tuple[tuple[str, Plane], ...], usual: int, shape: tuple[int, ...]
) -> Floats | None:
    if all(z.sensitivity is None for z in zones):
        return None
    weight: Floats = np.ones(shape, np.float32)
    for zone, (_, plane) in reversed(list(zip(zones, planes, strict=True))):
        if zone.sensitivity is not None:
            weight[plane > 0] = evidence_factor(usual) / evidence_factor(zone.sensitivity)
    return weight


def inside(polygons: Iterable[Polygon], shape: tuple[int, ...]) -> Plane:
    """255 within any of the outlines, on a plane of this shape."""
    height, width = shape
    fine = np.zeros((height * FINE, width * FINE), np.uint8)
    for polygon in polygons:
        points = np.array([(round(x * width * FINE), round(y * height * FINE)) for x, y in polygon], np.int32)
        cv2.fillPoly(fine, [points], 255)
    small = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.threshold(small, 127, 255, cv2.THRESH_BINARY)[1]
