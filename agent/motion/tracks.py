"""Track before detect: what differs counts as moving once it has conquered enough new ground."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agent.motion.background import rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.motion.blobs import Blob
    from agent.motion.tuning import Tuning

MAX_TRACKS = 32
FORGET_S = 0.5
WAY_S = 2.0
MARK_S = 0.45
PIXELS_PER_S = 14.0


@dataclass(slots=True)
class Track:
    """One thing's way: its latest blob, when it was seen and what its new ground is worth in all."""

    blob: Blob
    seen_s: float
    ground: float
    sights: int = 1
    way: deque[tuple[float, float, float]] = field(default_factory=deque)
    """(time, x, y) of the sightings of the last WAY_S"""
    gone_s: float = -1e9
    """when it last had gone somewhere"""
    proven_s: float = -1e9
    """when it last showed that it moves"""

    def step(self, blob: Blob, t_s: float) -> None:
        """Note where it is now."""
        self.blob, self.seen_s = blob, t_s
        # Marks half a second apart: nearer ones would only measure how a small blob trembles.
        if not self.way or t_s - self.way[-1][0] >= MARK_S:
            self.way.append((t_s, blob.cx, blob.cy))
            while t_s - self.way[0][0] > WAY_S:
                self.way.popleft()

    def gone(self) -> tuple[float, float]:
        """How far it has gone lately, in pixels, and how straight (1: straight, 0: to and fro)."""
        points = [(x, y) for _, x, y in self.way] + [(self.blob.cx, self.blob.cy)]
        path = sum(math.dist(p, q) for p, q in zip(points, points[1:], strict=False))
        gone = math.dist(points[0], points[-1])
        return gone, gone / path if path > 1 else 1.0


class Tracker:
    """Follows blobs from picture to picture, nearest first; knows what lately came to nothing."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self._tracks: list[Track] = []
        self._clutter = 0.0
        self._crowd = 0.0

    def follow(self, blobs: Sequence[Blob], t_s: float, dt_s: float, prove: bool) -> list[Track]:
        """The tracks seen now, one for each blob (as long as there is room); `prove` False: nothing may begin now."""
        t = self._tuning
        self._clutter *= 1 - rate(dt_s, t.clutter_s)
        for k in self._tracks:
            if t_s - k.seen_s > FORGET_S and k.proven_s < 0:
                self._clutter = max(self._clutter, k.ground)
        self._tracks = [k for k in self._tracks if t_s - k.seen_s <= FORGET_S]
        pairs = _pairs(self._tracks, blobs, t_s)
        seen = []
        for i, blob in enumerate(blobs):
            track = pairs.get(i)
            if track is None:
                if len(self._tracks) >= MAX_TRACKS:
                    continue
                track = Track(blob, t_s, blob.ground)
                self._tracks.append(track)
            else:
                track.ground *= 1 - rate(t_s - track.seen_s, t.ground_s)
                track.ground += blob.ground
                track.sights += 1
            track.step(blob, t_s)
            if not prove:
                track.ground = 0.0
            seen.append(track)
        crowd = sum(k.blob.calm for k in seen if k.sights >= 3)
        self._crowd += rate(dt_s, 2.0) * (crowd - self._crowd)
        wanted = max(t.evidence, t.clutter_gain * self._clutter) * (1 + t.crowd_gain * max(0.0, self._crowd - t.crowd))
        for k in seen:
            self._prove(k, t_s, wanted)
        return seen

    def _prove(self, track: Track, t_s: float, wanted: float) -> None:
        t = self._tuning
        gone, straight = track.gone()
        if track.sights >= 2 and track.ground * max(straight, t.astray) >= wanted:
            track.proven_s = t_s
            if gone >= max(t.gone, t.gone_size * min(track.blob.w, track.blob.h)) and straight >= t.straight:
                track.gone_s = t_s


def _pairs(tracks: list[Track], blobs: Sequence[Blob], t_s: float) -> dict[int, Track]:
    """Which track each blob (by its number) continues: the pairs within reach, nearest first."""
    if not tracks or not blobs:
        return {}
    old = np.array([(k.blob.x, k.blob.y, k.blob.w, k.blob.h, k.blob.cx, k.blob.cy, k.seen_s) for k in tracks])[:, None]
    new = np.array([(b.x, b.y, b.w, b.h, b.cx, b.cy) for b in blobs])[None]
    apart = np.maximum(old[..., :2] - new[..., :2] - new[..., 2:4], new[..., :2] - old[..., :2] - old[..., 2:4])
    apart = np.maximum(apart, 0).max(axis=2)
    size = np.minimum(old[..., 2:4], new[..., 2:4]).sum(axis=2)
    reach = 1.0 + PIXELS_PER_S * (t_s - old[..., 6]) + 0.3 * size
    gap = apart + 0.1 * np.abs(old[..., 4:6] - new[..., 4:6]).sum(axis=2)
    gap[apart > reach] = np.inf
    found: dict[int, Track] = {}
    taken: set[int] = set()
    for pair in np.argsort(gap, axis=None, kind="stable").tolist():
        i, j = divmod(pair, len(blobs))
        if gap[i, j] == np.inf or len(found) == len(blobs):
            break
        if i not in taken and j not in found:
            taken.add(i)
            found[j] = tracks[i]
    return found
