"""The two kinds of small pictures that the detector works on."""

from typing import Any, TypeAlias

from numpy.typing import NDArray

Plane: TypeAlias = NDArray[Any]
"""height × width uint8 (OpenCV's own types do not say which integer)"""
Floats: TypeAlias = NDArray[Any]
"""height × width float32"""
