"""Leaves come back to the old ground, what moves conquers new one: where things differ that are no motion."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.motion.background import rate

if TYPE_CHECKING:
    from agent.motion.planes import Floats, Places, Plane
    from agent.motion.tuning import Tuning

NOTHING = 1e-5
POOL = (5, 5)
"""a leaf's neighbours are leaves: how often a pixel differs is taken from its neighbourhood"""


class Ground:
    """How lately each pixel differed (worn, 1 to 0) and how often it did so without being motion (heat, 0 to 1).

    Both fade by themselves. How much they have is kept as two numbers and taken from the planes when something
    differs again, so that a quiet scene costs nothing.
    """

    def __init__(self, shape: tuple[int, ...], tuning: Tuning) -> None:
        self._tuning = tuning
        self._worn = np.zeros(shape, np.float32)
        self._heat = np.zeros(shape, np.float32)
        self._pooled: Floats = self._heat
        self._worn_left = 1.0
        self._heat_left = 1.0
        self._age_s = 0.0

    def wake(self) -> None:
        """Bring the planes up to now; what is asked below is of now only after this."""
        # What has faded to nearly nothing is nothing: numbers close to 0 cost a processor ten times as much.
        if self._worn_left < 1:
            self._worn *= self._worn_left
            cv2.threshold(self._worn, NOTHING, 0, cv2.THRESH_TOZERO, dst=self._worn)
        if self._heat_left < 1:
            self._heat *= self._heat_left
            cv2.threshold(self._heat, NOTHING, 0, cv2.THRESH_TOZERO, dst=self._heat)
        self._worn_left = self._heat_left = 1.0
        self._pooled = cv2.blur(self._heat, POOL)

    def calm(self, places: Places) -> Floats:
        """Of these pixels: 1 where nothing but motion ever differs, towards 0 where things come and go."""
        share: Floats = 1 / (1.0 + self._tuning.heat_gain * self._pooled.ravel()[places])
        return share

    def fresh(self, places: Places) -> Floats:
        """Of these pixels: 1 where nothing differed lately, towards 0 where something just did."""
        share: Floats = 1.0 - self._worn.ravel()[places]
        return share

    def calmer(self, than: float) -> Plane:
        """255 where the calm is at least this."""
        return -(self._pooled <= (1 / than - 1) / self._tuning.heat_gain).view(np.uint8)

    def tread(self, differs: Plane | None, active: Plane | None, dt_s: float) -> None:
        """`differs`: 255 where a pixel differs now (wake before), None for nowhere; `active`: 255 where that is
        motion."""
        t = self._tuning
        self._age_s += dt_s
        r = rate(dt_s, min(t.heat_s, 0.5 + self._age_s))
        self._worn_left *= math.exp(-dt_s / t.worn_s)
        if differs is None:
            self._heat_left *= 1 - r
            return
        now = differs > 0
        free = None if active is None else cv2.bitwise_not(active)
        cv2.accumulateWeighted(now.view(np.uint8), self._heat, r, free)
        self._worn *= self._worn_left
        self._worn_left = 1.0
        np.copyto(self._worn, 1.0, where=now)
