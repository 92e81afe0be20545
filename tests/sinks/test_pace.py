"""The pace of the uplink: nearly nothing under way on a slow line, everything on a fast one."""

from agent.sinks.pace import LEAST_BYTES, MOST_BYTES, Pace


class Line:
    """A line of so many bytes a second with its own time there and back, in virtual time."""

    def __init__(self, bytes_per_s: float, there_and_back_s: float) -> None:
        self.now_s = 0.0
        self.free_s = 0.0
        self.rate = bytes_per_s
        self.delay_s = there_and_back_s
        self.pace = Pace(lambda: self.now_s)
        self.echoes: list[tuple[float, bytes]] = []

    def _mark(self, mark: bytes | None) -> None:
        if mark is not None:
            self.echoes.append((max(self.free_s, self.now_s) + self.delay_s, mark))

    def run(self, seconds: float) -> int:
        """Send as much as the pace allows; the bytes that went in the time."""
        sent, end_s = 0, self.now_s + seconds
        self._mark(self.pace.mark())
        while self.now_s < end_s:
            while self.pace._under_way - self.pace._unmarked < self.pace._budget and self.free_s < end_s + 60:
                size = self.pace.part_bytes
                self.free_s = max(self.free_s, self.now_s) + size / self.rate
                sent += size
                self._mark(self.pace.sent(size))
            at_s, mark = self.echoes.pop(0)
            self.now_s = max(self.now_s, at_s)
            self.pace.echoed(mark)
        return sent

    def queue_s(self) -> float:
        return max(0.0, self.free_s - self.now_s)


def test_on_a_slow_line_what_is_urgent_waits_less_than_a_second() -> None:
    for rate in (10_000, 30_000, 100_000):
        line = Line(rate, 0.05)
        line.run(20)
        assert line.queue_s() <= max(0.8, 3 * LEAST_BYTES / rate), f"{rate} B/s"


def test_a_slow_line_is_kept_busy() -> None:
    line = Line(30_000, 0.05)
    line.run(5)
    assert line.run(20) > 0.9 * 20 * 30_000


def test_a_fast_and_far_line_is_filled() -> None:
    line = Line(10_000_000, 0.2)
    line.run(10)
    assert 2_000_000 < line.pace._budget <= MOST_BYTES
    assert line.run(10) > 0.8 * 10 * 10_000_000


def test_marks_that_were_never_sent_mean_nothing() -> None:
    pace = Pace(lambda: 0.0)
    pace.sent(50_000)
    under_way = pace._under_way
    pace.echoed(b"12345678")
    assert pace._under_way == under_way
