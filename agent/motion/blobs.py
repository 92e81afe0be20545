"""Connected pixels that differ: how much, how lively, on what ground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from agent.motion.planes import Floats, Plane

MAX_BLOBS = 24
CLOSE = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Blob:
    """A group of differing pixels; box and centre in pixels of the plane.

    `ground`: sum over its pixels of difference / threshold × worth; `lively`: pixels that changed lately;
    `calm`: mean calm of its pixels.
    """

    label: int
    x: int
    y: int
    w: int
    h: int
    area: int
    cx: float
    cy: float
    ground: float
    lively: float
    calm: float


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known of each pixel: difference / threshold (0 where it does not differ), changed lately (0 or 1),
    calm and worth (0..1)."""

    ratio: Floats
    changed: Plane
    calm: Floats
    worth: Floats


def group(differs: Plane, traits: Traits) -> tuple[list[Blob], Plane]:
    """The MAX_BLOBS weightiest blobs of the pixels that are not 0, gaps of a pixel closed, and their label plane."""
    joined = cv2.morphologyEx(differs, cv2.MORPH_CLOSE, CLOSE)
    n, labels, stats, centres = cv2.connectedComponentsWithStats(joined, connectivity=8)
    places = np.flatnonzero(joined)
    owner = labels.ravel()[places]

    def total(plane: Floats) -> Floats:
        return np.bincount(owner, plane.ravel()[places], n)

    mass, ground = total(traits.ratio), total(traits.ratio * traits.worth)
    lively, calm = total(traits.changed), total(traits.calm)
    order = np.argsort(-mass[1:], kind="stable")[:MAX_BLOBS] + 1
    # Lists at once: taking numbers out of arrays one by one costs more than all that is done with them.
    rows = (plane[order].tolist() for plane in (stats, centres, ground, lively, calm))
    return [
        Blob(i, x, y, w, h, area, cx, cy, worth, changed, stillness / area)
        for i, (x, y, w, h, area), (cx, cy), worth, changed, stillness in zip(order.tolist(), *rows, strict=True)
    ], labels
