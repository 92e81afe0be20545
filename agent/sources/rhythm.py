"""What a stream of pictures has been like lately, so that the kernel wakes us for the next ones once."""

from __future__ import annotations

STEADY_AFTER = 4
LATE_NS = 100_000_000
GRACE_NS = 20_000_000  # in which the loop sees that a wait is over
SHORTEST_NS = 1_000_000
LATELY = 8  # pictures: how far apart they are is learned from so many
ASK_AGAIN = 64
GRAIN_BYTES = 64  # sizes that have been all the same differ by this in the end
MOST_BYTES = 1024 * 1024
LONGEST_NS = 500_000_000  # who begins to watch waits no longer, and little is guessed of when pictures came


class Rhythm:
    """Learns from pictures how many bytes the next ones bring at least, and until when to wait for so many.

    Mean and mean deviation follow as TCP's of a round trip do (RFC 6298, section 2): pictures with fewer than `least`
    bytes are rare where sizes scatter, and there is no `least` (1) where they jump. What is smaller all the same,
    as when a lamp goes off, is seen when `patience_s` is over: half a picture's time late, never more than 0.1 s.
    A single picture that comes in one piece needs none of that: every 64th is received as it comes, which tells.

    Where nobody wants one before a time, those that come until then stay in the kernel and are received together.
    Their times are guessed, but not before those of the waking before: where a camera becomes slower, guesses would
    fall behind more and more.
    """

    def __init__(self) -> None:
        self._seen = 0
        self.last_ns = self._woke_ns = self._over_ns = 0
        self._time_ns = self._times = 0.0  # lately: between wakings, and pictures that came in it
        self._mean = self._deviation = 0.0
        self._pieces_until = self._alone_until = 0
        self._waits_for = 1
        self.least = 1
        self.patience_s = 0.0

    @property
    def _gap_ns(self) -> float:
        """Between two pictures, lately; 0: not known."""
        return self._time_ns / self._times if self._times else 0.0

    def came(self, now_ns: int, count: int, size: int, pieces: int, begun: bool = False) -> list[int]:
        """So many pictures have just become whole: `size` bytes since the last one, in so many pieces.

        `begun`: bytes of the next one are here. Returns when each has arrived, as well as one can know: what was waited
        for together came evenly, up to the one that comes now.
        """
        times = self._guessed(now_ns, count, begun)
        if self._seen:
            old = max(0.0, 1 - count / LATELY)
            self._time_ns = self._time_ns * old + now_ns - self._woke_ns
            self._times = self._times * old + count
            off = size / count - self._mean
            self._mean += off / 8
            self._deviation += (abs(off) - self._deviation) / 4
        else:
            self._mean = size / count
            self._deviation = self._mean / 2
        self.last_ns, self._woke_ns = times[-1], now_ns
        if count > self._waits_for + 1:
            self._alone_until = self._seen + ASK_AGAIN
        self._seen += count
        if pieces > 1 and self.least == 1:
            self._pieces_until = self._seen + ASK_AGAIN
        return times

    def _guessed(self, now_ns: int, count: int, begun: bool) -> list[int]:
        if self._waits_for == 1 or now_ns > self._over_ns + GRACE_NS:  # they are taken as they come
            return [now_ns] * count
        from_ns = max(self.last_ns, self._woke_ns - int(self._gap_ns))
        apart_ns = (now_ns - from_ns) // (count + begun)
        if now_ns >= self._over_ns:  # nobody knows when they came
            apart_ns = min(apart_ns, int(self._gap_ns))
        return [from_ns + apart_ns * i for i in range(1, count + 1)]

    def wait(self, now_ns: int, until_ns: int) -> None:
        """Set `least` and `patience_s` for what comes from now on; nobody wants it before `until_ns`."""
        self.least = self._waits_for = 1
        self.patience_s = 0.0
        gap_ns = self._gap_ns
        if self._seen <= STEADY_AFTER or gap_ns <= 0:
            return
        if self._seen >= self._alone_until:
            most = min(LONGEST_NS // gap_ns, MOST_BYTES // self._mean)
            self._waits_for = max(1, int(min((until_ns - self.last_ns + gap_ns - 1) // gap_ns, most)))
        count = self._waits_for
        if count > 1 or self._seen < self._pieces_until:
            self.least = max(1, int(count * (self._mean - max(4 * self._deviation, GRAIN_BYTES))))
            self._over_ns = self._woke_ns + int(count * gap_ns + min(gap_ns / 2, LATE_NS))
            self.patience_s = max(SHORTEST_NS, self._over_ns - now_ns) / 1e9
