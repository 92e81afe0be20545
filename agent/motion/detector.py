"""The detector: differs from the background, has just changed, and is no trick of light, leaves or lens."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.frame import Box, Candidate, Decision
from agent.motion import light
from agent.motion.background import lit
from agent.motion.blobs import Blob, Groups, Traits, group, weigh
from agent.motion.light import Light
from agent.motion.region import Region, region
from agent.motion.scene import Scene, Scenes
from agent.motion.tracks import Track, Tracker

if TYPE_CHECKING:
    from agent.motion import MotionSettings
    from agent.motion.planes import Plane
    from agent.motion.tuning import Tuning

GAP_S = 5.0
"""after a longer gap nothing is known of what happened: everything begins anew"""
SMALLEST_LIT = 9
"""a blob of fewer pixels is too small to tell light from things"""
NOTED = 0.1
"""what has less than this share of the evidence wanted is no candidate: a leaf that stirs"""
SAME_LEVEL, LITTLE = 2.0, 0.05
"""while the picture's mean is this near (grey levels), and less than this share of it differs, the light is the same"""
AROUND = np.ones((3, 3), np.uint8)


class MotionDetector:
    """Implements `agent.motion.Detector`; docs/design/motion.md explains the steps and their sources."""

    def __init__(self, settings: MotionSettings, tuning: Tuning) -> None:
        self._settings = settings
        self._tuning = tuning
        self._shape: tuple[int, ...] = ()
        self._last_s = 0.0

    def update(self, luma: Plane, pts_s: float) -> Decision:
        """See `Detector.update`."""
        if luma.shape != self._shape or not 0 <= pts_s - self._last_s <= GAP_S:
            self._begin(luma, pts_s)
            return Decision(moving=False, reason="learning")
        dt_s = min(pts_s - self._last_s, 1.0)
        self._last_s = pts_s
        return self._look(luma, pts_s, dt_s)

    def _begin(self, luma: Plane, pts_s: float) -> None:
        self._shape = luma.shape
        self._last_s = pts_s
        self._region: Region = region(self._settings, luma.shape)
        self._scenes = Scenes()
        self._enter(Scene(luma, self._tuning), luma, pts_s, self._tuning.warm_s)

    def _enter(self, scene: Scene, luma: Plane, pts_s: float, quiet_s: float) -> None:
        self._scene = scene
        self._tracker = Tracker(self._tuning)
        self._past: deque[tuple[float, Plane, Light]] = deque([(pts_s, luma, Light())])
        self._quiet_until_s = pts_s + quiet_s
        self._seen_s = -1e9
        self._seen = Decision(moving=False)

    def _look(self, luma: Plane, pts_s: float, dt_s: float) -> Decision:
        t, background = self._tuning, self._scene.background
        quiet_s = max(t.quiet_s, t.quiet_looks * min(dt_s, 0.2))
        level = cv2.mean(background.mean)[0]
        now, away, limit, differs = self._compare(luma, level)
        count = cv2.countNonZero(differs)
        if count > t.upheaval * luma.size:
            self._enter(self._scenes.turn(self._scene, luma, t), luma, pts_s, quiet_s)
            return Decision(moving=False, reason="light")
        self._trim(pts_s)
        before = self._past[0][2]
        if now != before and now.since(before).step(level) > t.light_step:
            self._quiet_until_s = max(self._quiet_until_s, pts_s + quiet_s)
        moving: list[Track] = []
        hidden: list[Candidate] = []
        active = None
        if count:
            self._scene.ground.wake()
            moving, hidden, active = self._judge(luma, away, limit, differs, now, pts_s, dt_s)
        self._scene.ground.tread(differs if count else None, active, dt_s)
        if now.differs():
            background.relight(*now)
            self._past = deque((s, plane, old.since(now)) for s, plane, old in self._past)
            now = Light()
        background.learn(luma, active, dt_s)
        self._past.append((pts_s, luma, now))
        return self._decide([k.blob for k in moving], tuple(hidden), pts_s, calm=not count)

    def _compare(self, luma: Plane, level: float) -> tuple[Light, Plane, Plane, Plane]:
        """The light now, how far each pixel is from its range, how far is needed, and 255 where it is farther."""
        background = self._scene.background
        # Where the mean is the same and little differs, the light is the same too.
        now = Light()
        alike = abs(cv2.mean(luma)[0] - level) < SAME_LEVEL
        if alike:
            away, limit = background.compare(luma, *now)
            differs = cv2.compare(away, limit, cv2.CMP_GT)
        if not alike or cv2.countNonZero(differs) > LITTLE * luma.size:
            now = light.fit(luma, background.mean)
            if not alike or now != Light():
                away, limit = background.compare(luma, *now)
                differs = cv2.compare(away, limit, cv2.CMP_GT)
        return now, away, limit, differs

    def _trim(self, pts_s: float) -> None:
        """Forget pictures older than the one of `lag_s` ago."""
        while len(self._past) > 1 and self._past[1][0] <= pts_s - self._tuning.lag_s + 1e-6:
            self._past.popleft()

    def _traits(self, groups: Groups, luma: Plane, away: Plane, limit: Plane, differs: Plane, now: Light) -> Traits:
        t, places, ground = self._tuning, groups.places, self._scene.ground
        _, before, old = self._past[0]
        differing = differs.ravel()[places] > 0
        changed_by = cv2.absdiff(luma, lit(before, *now.since(old))).ravel()[places]
        ratio = np.minimum(away.ravel()[places] / limit.ravel()[places], t.pixel_cap)
        calm = ground.calm(places)
        worth = calm * ground.fresh(places)
        if self._region.weight is not None:
            worth *= self._region.weight.ravel()[places]
        return Traits(ratio * differing, (changed_by > t.floor) & differing, calm, worth)

    def _judge(
        self, luma: Plane, away: Plane, limit: Plane, differs: Plane, now: Light, pts_s: float, dt_s: float
    ) -> tuple[list[Track], list[Candidate], Plane | None]:
        """What moves, what was held back and why, and 255 where motion keeps the background from learning."""
        t = self._tuning
        hidden: list[Candidate] = []
        if self._region.looked is not None:
            hidden += self._masked(cv2.bitwise_and(differs, cv2.bitwise_not(self._region.looked)), away, limit)
            differs = cv2.bitwise_and(differs, self._region.looked)
        groups = group(differs)
        usual: Plane | None = None

        def is_light(b: Blob) -> bool:
            nonlocal usual
            if b.area < SMALLEST_LIT:
                return False
            if usual is None:
                usual = lit(cv2.convertScaleAbs(self._scene.background.mean), *now)
            if light.explains(b, luma, usual) <= t.alight:
                return False
            hidden.append(self._candidate("light", b, b.ground))
            return True

        blobs = weigh(groups, self._traits(groups, luma, away, limit, differs, now))
        moving: list[Track] = []
        shielding: list[int] = []
        for k in self._tracker.follow(blobs, pts_s, dt_s, is_light, quiet=pts_s < self._quiet_until_s):
            patience_s = t.patience_s * k.blob.calm**2
            if pts_s - k.proven_s <= patience_s and pts_s - k.gone_s <= t.patience_s:
                shielding.append(k.blob.label)
            reason = self._held_back(k, pts_s, patience_s)
            if not reason:
                moving.append(k)
            elif reason != "fleeting" or k.ground >= NOTED * self._tracker.wanted:
                hidden.append(self._candidate(reason, k.blob, k.ground))
        return moving, hidden, self._shield(groups, shielding)

    def _masked(self, masked: Plane, away: Plane, limit: Plane) -> list[Candidate]:
        """What differs where nothing counts; its evidence is as if all of that were new, calm ground."""
        places = np.flatnonzero(masked)
        evidence = float(np.minimum(away.ravel()[places] / limit.ravel()[places], self._tuning.pixel_cap).sum())
        if evidence < NOTED * self._tracker.wanted:
            return []
        box = self._box(*cv2.boundingRect(masked))
        return [Candidate("mask", box, round(evidence, 1), round(self._tracker.wanted, 1))]

    def _held_back(self, track: Track, pts_s: float, patience_s: float) -> str:
        """Why a track is no motion now, "" if it is."""
        if pts_s - track.proven_s > patience_s:
            return "fleeting"
        if track.blob.lively < max(1.0, self._tuning.moving_share * track.blob.area):
            return "still"
        height = self._shape[0]
        if track.height + 0.5 < self._settings.min_size * height:
            return "small"
        return "large" if track.blob.h > self._settings.max_size * height else ""

    def _shield(self, groups: Groups, shielding: list[int]) -> Plane | None:
        if not shielding:
            return None
        around = cv2.dilate(groups.area(shielding, self._shape), AROUND)
        return cv2.bitwise_and(around, self._scene.ground.calmer(self._tuning.shield))

    def _box(self, x: int, y: int, w: int, h: int) -> Box:
        height, width = self._shape
        return Box(x / width, y / height, w / width, h / height)

    def _candidate(self, reason: str, b: Blob, evidence: float) -> Candidate:
        box = self._box(b.x, b.y, b.w, b.h)
        zone = self._region.zone(b.cx, b.cy)
        return Candidate(reason, box, round(evidence, 1), round(self._tracker.wanted, 1), zone)

    def _decide(self, moving: list[Blob], hidden: tuple[Candidate, ...], pts_s: float, calm: bool) -> Decision:
        if pts_s < self._quiet_until_s:
            return Decision(moving=False, reason="learning", hidden=hidden)
        if moving:
            height, width = self._shape
            score = min(1.0, sum(b.area for b in moving) / (height * width))
            self._seen_s = pts_s
            self._seen = Decision(
                moving=True,
                score=score,
                boxes=tuple(self._box(b.x, b.y, b.w, b.h) for b in moving),
                reason="motion",
                zone=self._region.zone(moving[0].cx, moving[0].cy),
                hidden=hidden,
            )
            return self._seen
        if pts_s - self._seen_s <= self._tuning.hold_s:
            return replace(self._seen, reason="hold", hidden=hidden)
        return Decision(moving=False, reason=hidden[0].reason if hidden else "still", hidden=hidden, calm=calm)
