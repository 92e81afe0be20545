"""The detector: differs from the background, has just changed, and is no trick of light, leaves or lens."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.frame import Box, Decision
from agent.motion import light
from agent.motion.background import BOX3, Background
from agent.motion.blobs import Blob, group
from agent.motion.ground import Ground
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
        self._ground = Ground(plane.shape, self._tuning)
        self._shape = plane.shape
        self._last_s = pts_s
        self._quiet_until_s = pts_s + quiet_s
        self._seen_s = -1e9
        self._seen: Decision = STILL
        self._past.append((pts_s, plane, 1.0, 0.0))
        self._held: Plane | None = None

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
        away, limit = bg.compare(luma, gain, offset)
        differs = cv2.compare(away, limit, cv2.CMP_GT)
        changed_by = self._changed_by(luma, pts_s, gain, offset)
        count = cv2.countNonZero(differs)
        if count > self._tuning.upheaval * luma.size:
            self._start(luma, pts_s, self._tuning.quiet_s)
            return Decision(moving=False, reason="light")
        if light.step(gain, offset, self._past[0], bg.mean) > self._tuning.light_step:
            self._quiet_until_s = max(self._quiet_until_s, pts_s + self._tuning.quiet_s)
        strong: list[Blob] = []
        active = None
        reason = "still"
        if count:
            strong, active, reason = self._judge(limit, luma, usual, away, differs, changed_by, pts_s, dt_s)
        self._held = active
        self._ground.tread(differs if count else None, active, dt_s)
        if abs(gain - 1) > 0.02 or abs(offset) > 1:
            bg.relight(gain, offset)
            self._past = deque((t, p, g / gain, o - offset * g / gain) for t, p, g, o in self._past)
            gain, offset = 1.0, 0.0
        bg.learn(luma, active, dt_s)
        self._past.append((pts_s, luma, gain, offset))
        return self._decide(strong, reason, luma, pts_s)

    def _changed_by(self, luma: Plane, pts_s: float, gain: float, offset: float) -> Plane:
        past = self._past
        while len(past) > 1 and past[1][0] <= pts_s - self._tuning.lag_s + 1e-6:
            past.popleft()
        _, plane, g, o = past[0]
        ratio = gain / g
        relit = cv2.convertScaleAbs(plane, alpha=ratio, beta=offset - o * ratio)
        return cv2.absdiff(luma, relit)

    def _judge(
        self, limit: Plane, luma: Plane, usual: Plane, away: Plane, differs: Plane, changed_by: Plane, pts_s: float,
        dt_s: float,
    ) -> tuple[list[Blob], Plane | None, str]:
        t = self._tuning
        changed = (changed_by > t.floor).astype(np.uint8)
        ratio = np.minimum(away.astype(np.float32) / limit, t.pixel_cap)
        ratio[differs == 0] = 0
        calm = self._ground.calm()
        joined = cv2.morphologyEx(differs, cv2.MORPH_CLOSE, BOX3)
        blobs, labels = group(joined, ratio, calm * self._ground.fresh(), cv2.bitwise_and(changed, changed, mask=differs), calm)
        reason = "small"
        things: list[Blob] = []
        for b in blobs:
            if b.area >= 9 and light.explains(b, luma, usual) > t.alight:
                reason = "light"
                continue
            things.append(b)
        strong: list[Blob] = []
        held: list[int] = []
        tracks = self._tracker.follow(things, pts_s, dt_s, pts_s >= self._quiet_until_s)
        for k in tracks:
            b = k.blob
            if pts_s - k.proven_s > t.patience_s * b.calm**2:
                continue
            if pts_s - k.gone_s <= t.patience_s:
                held.append(b.label)
            if b.lively >= max(1.0, t.moving_share * b.area):
                strong.append(b)
        if not held:
            return strong, None, reason
        keep = np.zeros(int(labels.max()) + 1, np.uint8)
        keep[held] = 255
        return strong, cv2.bitwise_and(cv2.dilate(keep[labels], BOX3), cv2.compare(calm, t.shield, cv2.CMP_GT)), "motion"

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
