"""Leaves come back to the old ground, what moves conquers new one: where things differ that are no motion."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.motion.background import rate
from agent.motion.planes import at_most

if TYPE_CHECKING:
    from agent.motion.planes import Floats, Plane
    from agent.motion.tuning import Tuning

NOTHING = 1e-5
POOL = (5, 5)
"""a leaf's neighbours are leaves: how often a pixel differs is taken from its neighbourhood"""


def _forget(share: Floats) -> None:
    """What has decayed to nearly nothing is nothing: numbers close to 0 cost a processor ten times as much."""
    cv2.threshold(share, NOTHING, 0, cv2.THRESH_TOZERO, dst=share)


class Ground:
    """How lately each pixel differed (worn, 1 to 0) and how often it did so without being motion (heat, 0 to 1)."""

    def __init__(self, shape: tuple[int, ...], tuning: Tuning) -> None:
        self._tuning = tuning
        self._worn = np.zeros(shape, np.float32)
        self._heat = np.zeros(shape, np.float32)
        self._age_s = 0.0

    def calm(self) -> Floats:
        """1 where nothing but motion ever differs, towards 0 where things come and go."""
        share: Floats = 1 / (1.0 + self._tuning.heat_gain * cv2.blur(self._heat, POOL))
        return share

    def fresh(self) -> Floats:
        """1 where nothing differed lately, towards 0 where something just did."""
        share: Floats = 1.0 - self._worn
        return share

    def tread(self, differs: Plane | None, active: Plane | None, dt_s: float) -> None:
        """`differs`: 255 where a pixel differs now, None for nowhere; `active`: 255 where that is motion."""
        t = self._tuning
        self._age_s += dt_s
        r = rate(dt_s, min(t.heat_s, 0.5 + self._age_s))
        self._worn *= math.exp(-dt_s / t.worn_s)
        _forget(self._worn)
        _forget(self._heat)
        if differs is None:
            self._heat *= 1 - r
            return
        now = at_most(differs, 1)
        cv2.max(self._worn, now.astype(np.float32), dst=self._worn)
        free = None if active is None else cv2.bitwise_not(active)
        cv2.accumulateWeighted(now, self._heat, r, free)
