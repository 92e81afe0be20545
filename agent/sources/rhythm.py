"""What a stream of pictures has been like lately, so that the kernel wakes us for the next ones once."""

from __future__ import annotations

STEADY_AFTER = 4
LATE_NS = 100_000_000
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
    """

    def __init__(self) -> None:
        self.last_ns = 0
        self._seen = 0
        self._mean = self._deviation = self._gap_ns = 0.0
        self._pieces_until = self._alone_until = 0
        self._waits_for = 1
        self.least = 1
        self.patience_s = 0.0

    def came(self, now_ns: int, count: int, size: int, pieces: int, begun: bool = False) -> list[int]:
        """So many pictures have just become whole: `size` bytes since the last one, in so many pieces.

        `begun`: bytes of the next one are here. Returns when each has arrived, as well as one can know: what was waited
        for together came evenly, up to the one that comes now.
        """
        size //= count
        times = [now_ns] * count
        if self._waits_for > 1:
            apart_ns = (now_ns - self.last_ns) // (count + begun)
            if not begun and count < self._waits_for:  # the wait was over, nobody knows when they came
                apart_ns = min(apart_ns, int(self._gap_ns))
            times = [self.last_ns + apart_ns * i for i in range(1, count + 1)]
        gap_ns, self.last_ns = (times[-1] - self.last_ns) // count, times[-1]
        if count > self._waits_for + 1:
            self._alone_until = self._seen + ASK_AGAIN
        self._seen += count
        if self._seen <= 2:
            self._mean, self._deviation, self._gap_ns = size, size / 2, gap_ns
        else:
            off = size - self._mean
            self._mean += off / 8
            self._deviation += (abs(off) - self._deviation) / 4
            self._gap_ns += (gap_ns - self._gap_ns) / 8
        if pieces > 1 and self.least == 1:
            self._pieces_until = self._seen + ASK_AGAIN
        return times

    def wait(self, until_ns: int) -> None:
        """Set `least` and `patience_s` for what comes next; nobody wants it before `until_ns`."""
        self.least = self._waits_for = 1
        self.patience_s = 0.0
        if self._seen <= STEADY_AFTER:
            return
        if self._seen >= self._alone_until and self._gap_ns > 0:
            until_ns = min(until_ns, self.last_ns + LONGEST_NS)
            most = MOST_BYTES // max(1, int(self._mean))
            self._waits_for = max(1, min(-int((self.last_ns - until_ns) // self._gap_ns), most))
        count = self._waits_for
        if count > 1 or self._seen < self._pieces_until:
            self.least = max(1, int(count * (self._mean - max(4 * self._deviation, GRAIN_BYTES))))
            self.patience_s = (count * self._gap_ns + min(self._gap_ns / 2, LATE_NS)) / 1e9
