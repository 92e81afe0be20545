"""The detector: differs from the background, has just changed, and is no trick of light, leaves or lens."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.frame import Box, Decision
from agent.motion import light
from agent.motion.background import BOX3, Background, outside
from agent.motion.blobs import Blob, group, likeness
from agent.motion.tracks import Tracker

if TYPE_CHECKING:
    from agent.motion.planes import Plane
    from agent.motion.tuning import Tuning

GAP_S = 5.0
STILL = Decision(moving=False)


class MotionDetector:
    """Implements `agent.motion.Detector`; docs/design/motion.md explains the steps and their sources."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self._background: Background | None = None

    def _start(self, plane: Plane, pts_s: float, quiet_s: float) -> None:
        self._background = Background(plane, self._tuning)
        self._past: deque[tuple[float, Plane, float, float]] = deque()
        self._tracker = Tracker(self._tuning)
        self._shape = plane.shape
        self._last_s = pts_s
        self._quiet_until_s = pts_s + quiet_s
        self._seen_s = -1e9
        self._seen: Decision = STILL
        self._before: Plane | None = None
        self._busy = 0.0
        self._held: Plane | None = None
        self._past.append((pts_s, plane, 1.0, 0.0))

    def update(self, luma: Plane, pts_s: float) -> Decision:
        """See `Detector.update`."""
        if self._background is None or luma.shape != self._shape or not 0 <= pts_s - self._last_s <= GAP_S:
            self._start(luma, pts_s, self._tuning.warm_s)
            return Decision(moving=False, reason="learning")
        dt_s = min(pts_s - self._last_s, 1.0)
        self._last_s = pts_s
        return self._look(self._background, luma, pts_s, dt_s)

    def _look(self, bg: Background, luma: Plane, pts_s: float, dt_s: float) -> Decision:
        gain, offset = light.fit(luma, bg.mean)
        usual = cv2.convertScaleAbs(bg.mean, alpha=gain, beta=offset)
        away = outside(luma, usual)
        differs = cv2.compare(away, bg.limit, cv2.CMP_GT)
        changed_by = self._changed_by(luma, pts_s, gain, offset)
        count = cv2.countNonZero(differs)
        if count > self._tuning.upheaval * luma.size:
            self._start(luma, pts_s, self._tuning.quiet_s)
            return Decision(moving=False, reason="light")
        strong: list[Blob] = []
        active = None
        reason = "still"
        if not count:
            self._held = None
        else:
            strong, active, reason = self._judge(bg, luma, usual, away, differs, changed_by, pts_s)
        if abs(gain - 1) > 0.02 or abs(offset) > 1:
            bg.relight(gain, offset)
            self._past = deque((t, p, g / gain, o - offset * g / gain) for t, p, g, o in self._past)
            gain, offset = 1.0, 0.0
        bg.learn(luma, away, changed_by, active, dt_s)
        self._past.append((pts_s, luma, gain, offset))
        return self._decide(strong, reason, luma, pts_s)

    def _changed_by(self, luma: Plane, pts_s: float, gain: float, offset: float) -> Plane:
        past = self._past
        while len(past) > 1 and past[1][0] <= pts_s - self._tuning.lag_s + 1e-6:
            past.popleft()
        _, plane, g, o = past[0]
        ratio = gain / g
        relit = cv2.convertScaleAbs(plane, alpha=ratio, beta=offset - o * ratio)
        if self._tuning.plain:
            return cv2.absdiff(luma, relit)
        return outside(luma, relit)

    def _judge(
        self,
        bg: Background,
        luma: Plane,
        usual: Plane,
        away: Plane,
        differs: Plane,
        changed_by: Plane,
        pts_s: float,
    ) -> tuple[list[Blob], Plane | None, str]:
        t = self._tuning
        changed = (changed_by > bg.change_limit).astype(np.uint8)
        ratio = np.minimum(away.astype(np.float32) / bg.limit, t.pixel_cap)
        ratio[differs == 0] = 0
        joined = cv2.morphologyEx(differs, cv2.MORPH_CLOSE, BOX3)
        blobs, labels = group(joined, ratio, cv2.bitwise_and(changed, changed, mask=differs))
        wanted = t.mass * (1 + t.busy_gain * self._busy)
        before, self._before = self._before, cv2.dilate(joined, BOX3)
        strong: list[Blob] = []
        weak: list[Blob] = []
        reason = "small"
        held: list[int] = []
        heat = np.bincount(labels.ravel(), bg.heat.ravel()) / 255
        for b in blobs:
            hot = float(heat[b.label]) / b.area
            if self._held is not None:
                under = self._held[labels == b.label] > 0
                if under.mean() > 0.3 and hot < t.heat_max:
                    held.append(b.label)
                    if b.area >= 4 and b.lively >= max(1.0, t.held_share * b.area):
                        strong.append(b)
                    continue
            if b.lively < max(1.0, t.moving_share * b.area):
                continue
            if b.area >= 9 and likeness(b, luma, usual) > t.texture:
                reason = "light"
                continue
            if b.mass >= wanted * (1 + t.heat_gain * hot) and (
                before is None or before[b.y : b.y + b.h, b.x : b.x + b.w].any()
            ):
                strong.append(b)
            elif b.area >= 2:
                weak.append(b)
        followed = self._tracker.follow(weak, pts_s)
        self._busy += 0.02 * (len(weak) - len(followed) - self._busy)
        strong += followed
        held += [b.label for b in strong]
        if not held:
            self._held = None
            return strong, None, reason
        keep = np.zeros(int(labels.max()) + 1, np.uint8)
        keep[held] = 255
        self._held = cv2.dilate(keep[labels], BOX3)
        return strong, self._held, "motion"

    def _decide(self, strong: list[Blob], reason: str, luma: Plane, pts_s: float) -> Decision:
        if pts_s < self._quiet_until_s:
            return Decision(moving=False, reason="learning")
        if strong:
            height, width = luma.shape
            boxes = tuple(Box(b.x / width, b.y / height, b.w / width, b.h / height) for b in strong)
            score = min(1.0, sum(b.area for b in strong) / luma.size)
            self._seen_s = pts_s
            self._seen = Decision(moving=True, score=score, boxes=boxes, reason="motion")
            return self._seen
        if pts_s - self._seen_s <= self._tuning.hold_s:
            return Decision(moving=True, score=self._seen.score, boxes=self._seen.boxes, reason="hold")
        return Decision(moving=False, reason=reason)
