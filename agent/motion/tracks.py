"""Track before detect: a blob too weak to count alone counts once it has gone somewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.motion.blobs import Blob
    from agent.motion.tuning import Tuning

MAX_TRACKS = 24
FORGET_S = 0.5
PIXELS_PER_S = 14.0


@dataclass(slots=True)
class Track:
    """A weak blob's way: (time, x, y) of each sighting."""

    way: list[tuple[float, float, float]] = field(default_factory=list)
    length: float = 0.0

    def add(self, t_s: float, x: float, y: float) -> None:
        if self.way:
            _, px, py = self.way[-1]
            self.length += math.hypot(x - px, y - py)
        self.way.append((t_s, x, y))

    def gone(self) -> float:
        """Pixels between the first and the last sighting."""
        (_, x0, y0), (_, x1, y1) = self.way[0], self.way[-1]
        return math.hypot(x1 - x0, y1 - y0)


class Tracker:
    """Follows at most MAX_TRACKS weak blobs from frame to frame, nearest first."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self._tracks: list[Track] = []

    def follow(self, weak: Sequence[Blob], t_s: float) -> list[Blob]:
        """Those of the blobs whose track has lasted and gone far enough, straight enough."""
        self._tracks = [k for k in self._tracks if t_s - k.way[-1][0] <= FORGET_S]
        free = list(self._tracks)
        found: list[Blob] = []
        for blob in weak:
            track = self._nearest(free, blob, t_s)
            if track is None:
                if len(self._tracks) >= MAX_TRACKS:
                    continue
                track = Track()
                self._tracks.append(track)
            else:
                free.remove(track)
            track.add(t_s, blob.cx, blob.cy)
            if self._counts(track):
                found.append(blob)
        return found

    def _nearest(self, tracks: list[Track], blob: Blob, t_s: float) -> Track | None:
        best, best_d = None, math.inf
        for track in tracks:
            t, x, y = track.way[-1]
            d = math.hypot(blob.cx - x, blob.cy - y)
            if d <= 1.5 + PIXELS_PER_S * (t_s - t) and d < best_d:
                best, best_d = track, d
        return best

    def _counts(self, track: Track) -> bool:
        lasted = track.way[-1][0] - track.way[0][0]
        gone = track.gone()
        return (
            len(track.way) >= 4
            and lasted >= self._tuning.track_s
            and gone >= self._tuning.track_path
            and gone >= 0.6 * track.length
        )
