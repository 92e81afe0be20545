"""What each pixel usually shows, how far it usually strays, and how much it usually changes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from agent.motion.planes import Floats, Plane
    from agent.motion.tuning import Tuning

BOX3 = np.ones((3, 3), np.uint8)


def outside(plane: Plane, reference: Plane) -> Plane:
    """How far each pixel lies outside the range of the reference's 3 × 3 neighbourhood."""
    above = cv2.subtract(plane, cv2.dilate(reference, BOX3))
    below = cv2.subtract(cv2.erode(reference, BOX3), plane)
    return cv2.max(above, below)


class Background:
    """Mean and spreads of every pixel, in grey levels; time constants in seconds."""

    def __init__(self, plane: Plane, tuning: Tuning) -> None:
        self._tuning = tuning
        self.mean = plane.astype(np.float32)
        self.stray = np.full(plane.shape, 2.0, np.float32)
        self.unrest = np.full(plane.shape, 1.0, np.float32)
        self.heat = np.zeros(plane.shape, np.float32)
        self.blocked_s = np.zeros(plane.shape, np.float32)
        self._age_s = 0.0
        self._set_limits()

    def _set_limits(self) -> None:
        t = self._tuning
        stray = cv2.dilate(self.stray, BOX3) if t.dil else self.stray
        self.limit = np.maximum(cv2.convertScaleAbs(stray, alpha=t.spread_gain), round(t.floor))
        self.change_limit = np.maximum(cv2.convertScaleAbs(self.unrest, alpha=t.change_gain), round(t.change_floor))

    def relight(self, gain: float, offset: float) -> None:
        """Take the picture's light as the background's."""
        self.mean = np.clip(self.mean * gain + offset, 0, 255)

    def learn(
        self,
        plane: Plane,
        away: Plane,
        changed: Plane,
        active: Plane | None,
        dt_s: float,
    ) -> None:
        """Follow the picture, except where `active` (non-zero: motion) has been so for only a short time."""
        t = self._tuning
        self._age_s += dt_s
        rate = _rate(dt_s, min(t.learn_s, 0.5 + self._age_s))
        now_hot = ((changed > t.change_floor) & (away > t.floor)).view(np.uint8) * np.uint8(255)
        cv2.accumulateWeighted(now_hot, self.heat, _rate(dt_s, min(t.heat_s, t.heat0_s + self._age_s)))
        free = None
        if active is not None:
            self.blocked_s[active > 0] += dt_s
            self.blocked_s[active == 0] = 0
            free = ((active == 0) | (self.blocked_s > t.block_s)).astype(np.uint8)
        cv2.accumulateWeighted(plane, self.mean, rate, free)
        lively = (
            None if active is None else cv2.bitwise_and(active, cv2.compare(changed, self.change_limit, cv2.CMP_GT))
        )
        self._follow(self.stray, away, active, lively, dt_s)
        self._follow(self.unrest, changed, active, lively if t.unrest_active else None, dt_s)
        self._set_limits()

    def _follow(self, spread: Floats, seen: Plane, active: Plane | None, lively: Plane | None, dt_s: float) -> None:
        higher = cv2.compare(seen.astype(np.float32), spread, cv2.CMP_GT)
        lower = cv2.bitwise_not(higher)
        if active is not None:
            if lively is not None:
                cv2.accumulateWeighted(
                    seen, spread, _rate(dt_s, self._tuning.active_rise_s), cv2.bitwise_and(higher, lively)
                )
            higher = cv2.subtract(higher, active)
        cv2.accumulateWeighted(seen, spread, _rate(dt_s, self._tuning.rise_s), higher)
        cv2.accumulateWeighted(seen, spread, _rate(dt_s, self._tuning.calm_s), lower)


def _rate(dt_s: float, time_constant_s: float) -> float:
    return 1.0 - math.exp(-dt_s / time_constant_s)
