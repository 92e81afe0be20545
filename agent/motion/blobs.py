"""Connected pixels that differ: how much, how lively, and whether they are an object or only light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from agent.motion.planes import Floats, Plane

MAX_BLOBS = 24


@dataclass(frozen=True, slots=True)
class Blob:
    """A group of differing pixels; box and centre in pixels of the plane.

    `mass`: sum of difference over threshold; `ground`: the same for the pixels' worth; `lively`: pixels changed lately.
    """

    label: int
    x: int
    y: int
    w: int
    h: int
    area: int
    cx: float
    cy: float
    mass: float
    ground: float
    lively: float
    calm: float


def group(mask: Plane, ratio: Floats, worth: Floats, changed: Plane, calm: Floats) -> tuple[list[Blob], Plane]:
    """The blobs of the mask (the MAX_BLOBS of most ground) and their label plane.

    `ratio`: difference over limit of each pixel; `worth`: what it counts; `changed`: 1 where it changed lately.
    """
    n, labels, stats, centres = cv2.connectedComponentsWithStats(mask, connectivity=8)
    flat = labels.ravel()
    mass = np.bincount(flat, ratio.ravel(), n)
    ground = np.bincount(flat, (ratio * worth).ravel(), n)
    lively = np.bincount(flat, changed.ravel(), n)
    calmness = np.bincount(flat, calm.ravel(), n)
    order = np.argsort(-mass[1:], kind="stable")[:MAX_BLOBS] + 1
    blobs = []
    for i in order.tolist():
        x, y, w, h, area = (int(v) for v in stats[i])
        cx, cy = centres[i]
        blobs.append(
            Blob(i, x, y, w, h, area, float(cx), float(cy), float(mass[i]), float(ground[i]), float(lively[i]), float(calmness[i]) / area)
        )
    return blobs, np.asarray(labels, np.int32)
