"""Connected pixels that differ: how much, how lively, and whether they are an object or only light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from agent.motion.planes import Floats, Plane

MAX_BLOBS = 64


@dataclass(frozen=True, slots=True)
class Blob:
    """A group of differing pixels; box and centre in pixels of the plane."""

    label: int
    x: int
    y: int
    w: int
    h: int
    area: int
    cx: float
    cy: float
    mass: float
    lively: float


def group(mask: Plane, ratio: Floats, changed: Plane) -> tuple[list[Blob], Plane]:
    """The blobs of the mask (largest MAX_BLOBS) and their label plane.

    `ratio`: difference over limit of each pixel; `changed`: 1 where the pixel changed lately.
    """
    n, labels, stats, centres = cv2.connectedComponentsWithStats(mask, connectivity=8)
    flat = labels.ravel()
    mass = np.bincount(flat, ratio.ravel(), n)
    lively = np.bincount(flat, changed.ravel(), n)
    order = sorted(range(1, n), key=lambda i: -mass[i])[:MAX_BLOBS]
    blobs = []
    for i in order:
        x, y, w, h, area = (int(v) for v in stats[i])
        cx, cy = centres[i]
        blobs.append(Blob(i, x, y, w, h, area, float(cx), float(cy), float(mass[i]), float(lively[i])))
    return blobs, np.asarray(labels, np.int32)


def likeness(blob: Blob, plane: Plane, reference: Plane) -> float:
    """Normalised correlation of picture and background in the blob's box, grown by a pixel: 1 is light."""
    window = np.s_[max(0, blob.y - 1) : blob.y + blob.h + 1, max(0, blob.x - 1) : blob.x + blob.w + 1]
    a = plane[window].astype(np.float32)
    b = reference[window].astype(np.float32)
    a -= a.mean()
    b -= b.mean()
    power = float(np.vdot(a, a)) * float(np.vdot(b, b))
    # Two flat patches say nothing of each other.
    if power <= (9.0 * a.size) ** 2:
        return 0.0
    return float(np.vdot(a, b) / np.sqrt(power))
