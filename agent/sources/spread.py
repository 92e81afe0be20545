"""When pictures were made that come several at once: behind a proxy that keeps them back, or over a bad line."""

from __future__ import annotations

TOGETHER = 3
"""pictures come together when there is less than such a part of the mean time of one between them"""
IN_A_ROW = 3
LATELY = 32
LONGEST_NS = 2_000_000_000
ONE_NS = 1_000


class Spread:
    """Gives each picture its time, which rises and is never later than now.

    Pictures that come one by one were made when they came. Where three groups in a row had more than one, those of the
    next are spread over the time since the last group came, as many of them as the last two had in the mean; what comes
    beyond that was made now. A line that jitters makes two such groups now and then. Nothing is spread over more than
    2 s: there the camera was silent.
    """

    def __init__(self) -> None:
        self._came_ns = self._at_ns = 0
        self._mean_ns = 0.0  # between two pictures, lately
        self._seen = 0
        self._begun_ns = self._before_ns = 0  # of this group and of the one before
        self._count = self._last = 0  # pictures of this group, and of the one before
        self._row = 0  # how many groups lately had more than one
        self._step_ns = 0  # between two pictures of this group; 0: they are not spread

    def at(self, now_ns: int) -> int:
        """Monotonic nanoseconds of a picture that came at `now_ns`."""
        gap_ns, self._came_ns = now_ns - self._came_ns, now_ns
        if gap_ns * TOGETHER < self._mean_ns:
            self._count += 1
        else:
            self._before_ns, self._begun_ns = self._begun_ns, now_ns
            self._step_ns = 0
            self._row = self._row + 1 if self._count > 1 else 0
            if self._row >= IN_A_ROW and now_ns - self._before_ns <= LONGEST_NS:
                self._step_ns = 2 * (now_ns - self._before_ns) // (self._count + self._last)
            self._last, self._count = self._count, 1
        if self._seen:
            self._mean_ns += (gap_ns - self._mean_ns) / min(self._seen, LATELY)
        self._seen += 1
        at_ns = now_ns
        if self._step_ns:
            at_ns = min(now_ns, self._before_ns + self._count * self._step_ns)
        self._at_ns = max(at_ns, self._at_ns + ONE_NS)
        return self._at_ns
