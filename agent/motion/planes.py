"""The two kinds of small pictures that the detector works on, and OpenCV's scalar operations on them."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Plane: TypeAlias = NDArray[Any]
"""height × width uint8 (OpenCV's own types do not say which integer)"""
Floats: TypeAlias = NDArray[Any]
"""height × width float32"""
Places: TypeAlias = NDArray[Any]
"""indices into a flat plane, or one number for each"""


def above(plane: Plane, limit: float) -> Plane:
    """255 where the plane is larger than the limit, else 0."""
    # OpenCV's comparison with a number makes a picture of the number first, for four times the time.
    return -(plane > limit).view(np.uint8)
