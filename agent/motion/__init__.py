"""The pre-filter: what moves. The Detector protocol and its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol

from annotated_types import Ge, Gt, Le

from agent.frame import Decision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionSettings:
    """What people set: `sensitivity` 1 (only what is plain to see) to 10 (the slightest thing)."""

    enabled: bool = True
    sensitivity: Annotated[int, Ge(1), Le(10)] = 5
    analyses_per_s: Annotated[float, Gt(0), Le(60)] = 5.0


class Detector(Protocol):
    """Says of each luma plane whether something moves; deterministic for the same input."""

    def update(self, luma: NDArray[np.uint8], pts_s: float) -> Decision:
        """`luma`: height × width uint8 (any size; a change of size starts anew); `pts_s`: seconds, rising."""
        ...


def create(settings: MotionSettings) -> Detector:
    """The detector for these settings; loads OpenCV and numpy, so call it only where frames are looked at."""
    from agent.motion.detector import MotionDetector
    from agent.motion.tuning import tuned

    return MotionDetector(tuned(settings.sensitivity))
