"""What each pixel usually shows: its mean, and the range of what it showed lately."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.motion.planes import above

if TYPE_CHECKING:
    from agent.motion.planes import Floats, Plane
    from agent.motion.tuning import Tuning


def rate(dt_s: float, time_constant_s: float) -> float:
    """The weight of a new value in a running mean with this time constant."""
    return 1.0 - math.exp(-dt_s / time_constant_s)


def lit(plane: Plane, gain: float, offset: float) -> Plane:
    """The plane in another light: gain × plane + offset."""
    if gain == 1 and offset == 0:
        return plane
    return cv2.convertScaleAbs(plane, alpha=gain, beta=offset)


class Background:
    """The mean follows slowly; the range holds all that was seen in the last `range_s` to 2 × `range_s`, but motion.

    A pixel that leaves come and go on has a wide range at once, and one of a noisy sensor has its noise in it: a
    range needs no model of either. It is the smallest and largest value of two buckets of `range_s` each, the older
    of which is dropped when the newer is full.
    """

    def __init__(self, plane: Plane, tuning: Tuning) -> None:
        self._tuning = tuning
        self._least = np.maximum(np.rint(np.arange(256) * tuning.weber), round(tuning.floor)).astype(np.uint8)
        self.mean = plane.astype(np.float32)
        self._low = [plane.copy(), plane.copy()]
        self._high = [plane.copy(), plane.copy()]
        self._blocked_s: Floats = np.zeros(plane.shape, np.float32)
        self._longest_s = 0.0
        self.age_s = 0.0
        self._bucket_s = 0.0

    def relight(self, gain: float, offset: float) -> None:
        """Take the picture's light as the background's."""
        self.mean = np.clip(self.mean * gain + offset, 0, 255)
        self._low = [lit(p, gain, offset) for p in self._low]
        self._high = [lit(p, gain, offset) for p in self._high]

    def compare(self, plane: Plane, gain: float, offset: float) -> tuple[Plane, Plane]:
        """How far each pixel lies outside its range in this light, and how far is needed to differ (grey levels)."""
        low, high = lit(cv2.min(*self._low), gain, offset), lit(cv2.max(*self._high), gain, offset)
        away = cv2.max(cv2.subtract(plane, high), cv2.subtract(low, plane))
        spread = cv2.convertScaleAbs(cv2.subtract(high, low), alpha=self._tuning.range_gain)
        return away, cv2.max(spread, cv2.LUT(high, self._least))

    def learn(self, plane: Plane, active: Plane | None, dt_s: float) -> None:
        """Follow the picture, except where `active` (255: motion) has been so for only a short time."""
        t = self._tuning
        self.age_s += dt_s
        self._bucket_s += dt_s
        if self._bucket_s > t.range_s:
            self._bucket_s = 0.0
            now = self.mean.astype(np.uint8)
            self._low = [self._low[1], now]
            self._high = [self._high[1], now.copy()]
        free = self._free(active, dt_s)
        cv2.accumulateWeighted(plane, self.mean, rate(dt_s, min(t.learn_s, 0.5 + self.age_s)), free)
        low, high = self._low[1], self._high[1]
        if free is None:
            cv2.min(low, plane, dst=low)
            cv2.max(high, plane, dst=high)
        else:
            cv2.copyTo(cv2.min(low, plane), free, low)
            cv2.copyTo(cv2.max(high, plane), free, high)

    def _free(self, active: Plane | None, dt_s: float) -> Plane | None:
        """255 where the picture may be learned: no motion, or motion on the spot for longer than `block_s`; None:
        everywhere."""
        if active is None:
            if self._longest_s:
                self._blocked_s[:] = self._longest_s = 0.0
            return None
        self._blocked_s = cv2.copyTo(self._blocked_s + dt_s, active)
        self._longest_s += dt_s
        free = cv2.bitwise_not(active)
        if self._longest_s <= self._tuning.block_s:
            return free
        return cv2.bitwise_or(free, above(self._blocked_s, self._tuning.block_s))
