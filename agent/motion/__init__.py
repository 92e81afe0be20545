"""The pre-filter: what moves. The Detector protocol and its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol

from agent.errors import ConfigError
from agent.frame import Decision
from agent.motion import hours, polygons
from agent.motion.hours import Schedule as Schedule
from agent.motion.looks import Looks as Looks
from agent.motion.polygons import Polygon
from agent.schema import above, at_least, at_most

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A named part of the picture; its `sensitivity` stands in for the camera's there."""

    name: str
    points: Polygon
    sensitivity: Annotated[int, at_least(1), at_most(10)] | None = None

    def __post_init__(self) -> None:
        polygons.check(self.points, f"zone '{self.name}'")


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionSettings:
    """What people set.

    `sensitivity`: 1 (only what is plain to see) to 10 (the slightest thing). `min_size`, `max_size`: height of what
    counts, as a share of the picture's. `zones`: if there are any, only what moves in them counts. `masks`: outlines
    in which nothing counts. `schedule`: motion makes events only then (`Mo-Fr 08:00-18:00`, local time).
    """

    enabled: bool = True
    sensitivity: Annotated[int, at_least(1), at_most(10)] = 5
    analyses_per_s: Annotated[float, above(0), at_most(60)] = 5.0
    min_size: Annotated[float, at_least(0), at_most(1)] = 0.0
    max_size: Annotated[float, above(0), at_most(1)] = 1.0
    zones: tuple[Zone, ...] = ()
    masks: tuple[Polygon, ...] = ()
    schedule: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.min_size > self.max_size:
            raise ConfigError(f"min_size ({self.min_size:g}) is more than max_size ({self.max_size:g})")
        names = [z.name for z in self.zones]
        if len(set(names)) != len(names):
            raise ConfigError("two zones have one name")
        for i, outline in enumerate(self.masks):
            polygons.check(outline, f"masks[{i}]")
        self.when()

    def when(self) -> Schedule:
        """Raises ConfigError."""
        return Schedule(tuple(hours.parse(text) for text in self.schedule))


class Detector(Protocol):
    """Says of each luma plane whether something moves; deterministic for the same input."""

    def update(self, luma: NDArray[np.uint8], pts_s: float) -> Decision:
        """`luma`: height × width uint8 (any size; a change of size starts anew); `pts_s`: seconds, rising."""
        ...


def create(settings: MotionSettings) -> Detector:
    """The detector for these settings; loads OpenCV and numpy, so call it only where frames are looked at."""
    from agent.motion.detector import MotionDetector
    from agent.motion.tuning import tuned

    return MotionDetector(settings, tuned(settings.sensitivity))
