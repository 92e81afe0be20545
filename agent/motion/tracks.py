"""Track before detect: what differs counts as moving once it has conquered enough new ground."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from agent.motion.background import rate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.motion.blobs import Blob
    from agent.motion.tuning import Tuning

MAX_TRACKS = 32
FORGET_S = 0.5
WAY_S = 2.0
MARK_S = 0.45
PIXELS_PER_S = 14.0
ALIKE = 30.0
"""a blob this many times larger or smaller than a track's last one does not continue it"""
NEVER = -1e9
ASKED_EACH = 4
DOUBTS = 2


@dataclass(slots=True)
class Track:
    """One thing's way: its latest blob, when it was seen, and what its new ground is worth in all."""

    blob: Blob
    seen_s: float
    ground: float = 0.0
    sights: int = 0
    height: int = 0
    """the tallest it has been, in pixels"""
    proven_s: float = NEVER
    """when it last had conquered enough"""
    gone_s: float = NEVER
    """when it last had also gone somewhere"""
    doubts: int = 0
    """how often in a row it looked like light although it is proven"""
    way: deque[tuple[float, float, float]] = field(default_factory=deque)
    """(time, x, y) about every half second, of the last WAY_S"""

    def step(self, blob: Blob, t_s: float, ground_s: float) -> None:
        """Note where it is now."""
        self.ground *= math.exp((self.seen_s - t_s) / ground_s)
        self.ground += blob.ground
        self.blob, self.seen_s = blob, t_s
        self.sights += 1
        self.height = max(self.height, blob.h)
        # Marks half a second apart: nearer ones would only measure how a small blob trembles.
        if not self.way or t_s - self.way[-1][0] >= MARK_S:
            self.way.append((t_s, blob.cx, blob.cy))
            while t_s - self.way[0][0] > WAY_S:
                self.way.popleft()

    def gone(self) -> tuple[float, float]:
        """How far it has gone lately, in pixels, and how straight (1: straight, 0: to and fro)."""
        points = [(x, y) for _, x, y in self.way] + [(self.blob.cx, self.blob.cy)]
        path = sum(math.dist(p, q) for p, q in pairwise(points))
        distance = math.dist(points[0], points[-1])
        return distance, distance / path if path > 1 else 1.0


class Tracker:
    """Follows blobs from picture to picture, nearest first; knows what lately came to nothing."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self._tracks: list[Track] = []
        self._clutter = 0.0
        self.wanted = tuning.evidence
        """what a track's ground must be worth now"""

    def follow(
        self, blobs: Sequence[Blob], t_s: float, dt_s: float, is_light: Callable[[Blob], bool], *, quiet: bool
    ) -> list[Track]:
        """The tracks seen now, one for each blob as long as there is room; `quiet`: nothing may begin now.

        A blob that is light has none.
        """
        self._forget(t_s, dt_s)
        continued = _pairs(self._tracks, blobs, t_s)
        seen = []
        for i, blob in enumerate(blobs):
            track = continued.get(i)
            if _is_light(track, blob, is_light):
                continue
            if track is None:
                if len(self._tracks) >= MAX_TRACKS:
                    continue
                track = Track(blob, t_s)
                self._tracks.append(track)
            track.step(blob, t_s, self._tuning.ground_s)
            if quiet:
                track.ground = 0.0
            self._prove(track, t_s)
            seen.append(track)
        return seen

    def _forget(self, t_s: float, dt_s: float) -> None:
        self._clutter *= 1 - rate(dt_s, self._tuning.clutter_s)
        lost = [k for k in self._tracks if t_s - k.seen_s > FORGET_S]
        self._clutter = max([self._clutter, *(k.ground for k in lost if k.proven_s == NEVER)])
        if lost:
            self._tracks = [k for k in self._tracks if t_s - k.seen_s <= FORGET_S]
        self.wanted = max(self._tuning.evidence, self._tuning.clutter_gain * self._clutter)

    def _prove(self, track: Track, t_s: float) -> None:
        t = self._tuning
        wanted = self.wanted
        # Nothing is straighter than 1: what has not enough ground need not be asked for its way.
        if track.sights < 2 or track.ground < wanted:
            return
        distance, straight = track.gone()
        if track.ground * max(straight, t.astray) < wanted:
            return
        track.proven_s = t_s
        if straight >= t.straight and distance >= max(t.gone, t.gone_size * min(track.blob.w, track.blob.h)):
            track.gone_s = t_s


def _is_light(track: Track | None, blob: Blob, is_light: Callable[[Blob], bool]) -> bool:
    """What is not proven is asked each time; what is, now and then, and loses its proof when it is doubted twice: the
    edge of a sunny patch may pass for a thing once, but not for long."""
    if track is None or track.proven_s == NEVER:
        return is_light(blob)
    if track.sights % ASKED_EACH:
        return False
    track.doubts = track.doubts + 1 if is_light(blob) else 0
    if track.doubts < DOUBTS:
        return False
    track.proven_s = track.gone_s = NEVER
    track.ground, track.doubts = 0.0, 0
    return True


def _pairs(tracks: Sequence[Track], blobs: Sequence[Blob], t_s: float) -> dict[int, Track]:
    """Which track each blob (by its number) continues: the pairs within reach, nearest first."""
    near = []
    edges = [(b.x, b.y, b.x + b.w, b.y + b.h) for b in blobs]
    for i, track in enumerate(tracks):
        old, reach = track.blob, 1.0 + PIXELS_PER_S * (t_s - track.seen_s)
        most = reach + 0.3 * (old.w + old.h)
        left, right, top, bottom = old.x - most, old.x + old.w + most, old.y - most, old.y + old.h + most
        for j, (x0, y0, x1, y1) in enumerate(edges):
            if x0 <= right and x1 >= left and y0 <= bottom and y1 >= top:
                gap = _gap(old, blobs[j], reach)
                if gap is not None:
                    near.append((gap, i, j))
    found: dict[int, Track] = {}
    taken: set[int] = set()
    for _, i, j in sorted(near):
        if i not in taken and j not in found:
            taken.add(i)
            found[j] = tracks[i]
    return found


def _gap(old: Blob, new: Blob, reach: float) -> float | None:
    """How far apart the two are; None when the one cannot have become the other."""
    apart = max(old.x - new.x - new.w, new.x - old.x - old.w, old.y - new.y - new.h, new.y - old.y - old.h, 0)
    reach += 0.3 * (min(old.w, new.w) + min(old.h, new.h))
    if apart > reach or not 1 / ALIKE <= old.area / new.area <= ALIKE:
        return None
    return apart + 0.1 * (abs(old.cx - new.cx) + abs(old.cy - new.cy))
