"""Which frames are looked at: at most so many a second, and half as many where nothing is missed by that."""

from __future__ import annotations

SPACED_NS = 400_000_000
"""looks are no farther apart because of what is written here: the detector would lose what it follows"""
SETTLED_NS = 2_000_000_000
"""an event that lasts longer than this in any case is looked at less often, and in rows"""
CALM_NS = 5_000_000_000
"""where nothing at all has differed for so long, too"""
MOST_TOGETHER = 8
EARLY_NS = 10_000_000
"""a frame may come so much before its due time, at most an eighth of a look's: jitter would choose the next one"""


class Looks:
    """The grid of due times: it keeps the mean rate when frames come a little early or late.

    `per_s` looks a second at most, None: every frame is looked at. In a running event that is `settled`, and in a
    scene where nothing differs, it is every second due time that counts, as long as that is no more than 0.4 s. The
    first thing that differs in a calm scene is looked at again half a period later: its event opens no later by that.
    """

    def __init__(self, per_s: float | None) -> None:
        self._period_ns = round(1e9 / per_s) if per_s else 0
        self._early_ns = min(self._period_ns // 8, EARLY_NS)
        self._spaced_ns = max(self._period_ns, min(2 * self._period_ns, SPACED_NS))
        self.together = min(max(1, SETTLED_NS // self._spaced_ns), MOST_TOGETHER) if per_s else 1
        self.begin(0)

    @property
    def period_s(self) -> float:
        """Between two looks, at full rate."""
        return self._period_ns / 1e9

    def begin(self, pts_ns: int) -> None:
        """A new run, with this frame."""
        self._due_ns = pts_ns
        self._stirred_ns = pts_ns

    def unwanted_until_ns(self, pts_ns: int, settled_ns: int = 0) -> int:
        """Up to which time no frame after this one is waited for, whatever is found in those that were due so far.

        While an event is settled that is no due time: a row of looks is as good a little later.
        """
        if settled_ns >= SETTLED_NS:
            return pts_ns + self._spaced_ns
        return min(self._due_ns, pts_ns + self._period_ns) - self._early_ns

    def due(self, pts_ns: int, settled_ns: int = 0) -> int:
        """How many frames to look at in a row, this one the last of them; 0: not at this one.

        `settled_ns`: how long the running event lasts whatever is found.
        """
        if pts_ns < self._due_ns - self._early_ns:
            return 0
        settled = settled_ns >= SETTLED_NS
        period_ns = self._spaced_ns if settled or pts_ns - self._stirred_ns >= CALM_NS else self._period_ns
        self._due_ns = max(self._due_ns + period_ns, pts_ns + period_ns // 2)
        return self.together if settled else 1

    def found(self, pts_ns: int, calm: bool) -> None:
        """What a look at this frame told: whether nothing differs in it."""
        if calm:
            return
        if pts_ns - self._stirred_ns >= CALM_NS:
            self._due_ns = min(self._due_ns, pts_ns + self._period_ns // 2)
        self._stirred_ns = pts_ns
