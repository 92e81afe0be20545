"""What each pixel usually shows: its mean, and the range of what it showed lately."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from agent.motion.planes import Plane
    from agent.motion.tuning import Tuning

BOX3 = np.ones((3, 3), np.uint8)


def rate(dt_s: float, time_constant_s: float) -> float:
    """The weight of a new value in a running mean with this time constant."""
    return 1.0 - math.exp(-dt_s / time_constant_s)


class Background:
    """The mean follows slowly; the range holds all of the last `range_s` to 2 × `range_s` seconds but motion."""

    def __init__(self, plane: Plane, tuning: Tuning) -> None:
        self._tuning = tuning
        self.mean = plane.astype(np.float32)
        self._low = [plane.copy(), plane.copy()]
        self._high = [plane.copy(), plane.copy()]
        self._blocked_s = np.zeros(plane.shape, np.float32)
        self._age_s = 0.0
        self._bucket_s = 0.0

    def relight(self, gain: float, offset: float) -> None:
        """Take the picture's light as the background's."""
        self.mean = np.clip(self.mean * gain + offset, 0, 255)
        for side in (self._low, self._high):
            side[:] = [lit(p, gain, offset) for p in side]

    def compare(self, plane: Plane, gain: float, offset: float) -> tuple[Plane, Plane]:
        """How far each pixel lies outside its own and its neighbours' range, and how far is needed to differ."""
        t = self._tuning
        low, high = cv2.min(*self._low), cv2.max(*self._high)
        if t.dil:
            low, high = cv2.erode(low, BOX3), cv2.dilate(high, BOX3)
        low, high = lit(low, gain, offset), lit(high, gain, offset)
        away = cv2.max(cv2.subtract(plane, high), cv2.subtract(low, plane))
        limit = cv2.max(cv2.convertScaleAbs(cv2.subtract(high, low), alpha=t.range_gain), round(t.floor))
        limit = cv2.max(limit, cv2.convertScaleAbs(high, alpha=t.weber))
        return away, limit

    def learn(self, plane: Plane, active: Plane | None, dt_s: float) -> None:
        """Follow the picture, except where `active` (255: motion) has been so for only a short time."""
        t = self._tuning
        self._age_s += dt_s
        self._bucket_s += dt_s
        if self._bucket_s > t.range_s:
            self._bucket_s = 0.0
            self._low = [self._low[1], self.mean.astype(np.uint8)]
            self._high = [self._high[1], self.mean.astype(np.uint8)]
        free = None
        if active is not None:
            self._blocked_s += dt_s
            self._blocked_s[active == 0] = 0
            free = cv2.compare(cv2.min(self._blocked_s, active.astype(np.float32)), t.block_s, cv2.CMP_GT)
            free = cv2.bitwise_or(free, cv2.bitwise_not(active))
        cv2.accumulateWeighted(plane, self.mean, rate(dt_s, min(t.learn_s, 0.5 + self._age_s)), free)
        if free is None:
            cv2.min(self._low[1], plane, dst=self._low[1])
            cv2.max(self._high[1], plane, dst=self._high[1])
        else:
            cv2.copyTo(cv2.min(self._low[1], plane), free, self._low[1])
            cv2.copyTo(cv2.max(self._high[1], plane), free, self._high[1])


def lit(plane: Plane, gain: float, offset: float) -> Plane:
    """The plane in another light: gain × plane + offset."""
    if gain == 1 and offset == 0:
        return plane
    return cv2.convertScaleAbs(plane, alpha=gain, beta=offset)
