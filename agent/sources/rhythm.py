"""What a stream of pictures has been like lately, so that the kernel wakes us for the next one once."""

from __future__ import annotations

from collections.abc import Callable

STEADY_AFTER = 4
LATE_S = 0.1
ASK_AGAIN = 64
GRAIN_BYTES = 64  # sizes that have been all the same differ by this in the end


class Rhythm:
    """Learns from pictures how many bytes the next brings at least, and until when to wait for so many.

    Mean and mean deviation follow as TCP's of a round trip do (RFC 6298, section 2): a picture with fewer than `least`
    bytes is rare where sizes scatter, and there is no `least` (1) where they jump. One that is smaller all the same,
    as when a lamp goes off, is seen when `patience_s` is over: half a picture's time late, never more than 0.1 s.
    Pictures that come in one piece need none of that: every 64th is received as it comes, which tells.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._last_s = 0.0
        self._seen = 0
        self._mean = self._deviation = self._gap_s = 0.0
        self._pieces_until = 0
        self.least = 1
        self.patience_s = 0.0

    def came(self, size: int, pieces: int) -> None:
        """A picture has just become whole: `size` bytes since the last one, in so many pieces."""
        now_s = self._now_s()
        gap_s, self._last_s = now_s - self._last_s, now_s
        self._seen += 1
        if self._seen <= 2:
            self._mean, self._deviation, self._gap_s = size, size / 2, gap_s
            return
        off = size - self._mean
        self._mean += off / 8
        self._deviation += (abs(off) - self._deviation) / 4
        self._gap_s += (gap_s - self._gap_s) / 8
        if pieces > 1 and self.least == 1:
            self._pieces_until = self._seen + ASK_AGAIN
        self.least = 1
        if STEADY_AFTER < self._seen < self._pieces_until:
            self.least = max(1, int(self._mean - max(4 * self._deviation, GRAIN_BYTES)))
            self.patience_s = self._gap_s + min(self._gap_s / 2, LATE_S)
