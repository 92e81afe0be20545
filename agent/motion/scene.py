"""All that is learned of one view in one light, so that day and night, or lamp on and off, each keep their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2

from agent.motion import light
from agent.motion.background import Background
from agent.motion.ground import Ground

if TYPE_CHECKING:
    from agent.motion.planes import Plane
    from agent.motion.tuning import Tuning

KEPT = 3
ALIKE = 0.1
"""a picture of which less than this share differs from a scene is that scene"""
LEARNED_S = 10.0
"""a scene seen for less is not worth keeping"""


class Scene:
    """A background and its ground."""

    def __init__(self, plane: Plane, tuning: Tuning) -> None:
        self.background = Background(plane, tuning)
        self.ground = Ground(plane.shape, tuning)

    def unlike(self, plane: Plane) -> float:
        """The share of the picture that differs from this scene in the light that fits best."""
        away, limit = self.background.compare(plane, *light.fit(plane, self.background.mean))
        return cv2.countNonZero(cv2.compare(away, limit, cv2.CMP_GT)) / plane.size


class Scenes:
    """The scenes seen lately, at most KEPT besides the present one."""

    def __init__(self) -> None:
        self._kept: list[Scene] = []

    def turn(self, now: Scene, plane: Plane, tuning: Tuning) -> Scene:
        """The scene that the picture shows, after `now` no longer does: one from before, or a new one."""
        known = min(self._kept, key=lambda s: s.unlike(plane), default=None)
        if now.background.age_s >= LEARNED_S:
            self._kept = [now, *self._kept][:KEPT]
        if known is None or known.unlike(plane) > ALIKE:
            return Scene(plane, tuning)
        self._kept = [s for s in self._kept if s is not known]
        known.background.relight(*light.fit(plane, known.background.mean))
        return known
