"""The two kinds of small pictures that the detector works on, and OpenCV's scalar operations on them."""

from typing import Any, TypeAlias, cast

import cv2
from numpy.typing import NDArray

Plane: TypeAlias = NDArray[Any]
"""height × width uint8 (OpenCV's own types do not say which integer)"""
Floats: TypeAlias = NDArray[Any]
"""height × width float32"""

# OpenCV's stubs know no scalars here, its functions do.


def above(plane: Plane, limit: float) -> Plane:
    """255 where the plane is larger than the limit, else 0."""
    return cv2.compare(plane, cast(Plane, limit), cv2.CMP_GT)


def at_most(plane: Plane, limit: float) -> Plane:
    """The plane, nowhere more than the limit."""
    return cv2.min(plane, cast(Plane, limit))


def at_least(plane: Plane, limit: float) -> Plane:
    """The plane, nowhere less than the limit."""
    return cv2.max(plane, cast(Plane, limit))
