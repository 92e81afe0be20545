"""Which pictures of a camera belong to one run: those of one kind, and not each change of it begins another one."""

from __future__ import annotations

from collections import deque

from agent.media.jpeg import SizeWatch

CHANGES = 4
UNSTEADY_NS = 10_000_000_000
"""so many changes within this time are no new setting of the camera"""
LASTS_NS = 5_000_000_000


class Changes:
    """Of what a camera sends: a change begins a run at once, unless there are many; then what it leads to must last.

    Where nothing of the run comes any more for as long as the many would take, it is over whatever comes.
    """

    def __init__(self) -> None:
        self._last = deque([-UNSTEADY_NS] * CHANGES, CHANGES)
        self._run_ns = 0

    def add(self, came_ns: int) -> None:
        """Another size than that of the picture before, or other parameter sets."""
        self._last.append(came_ns)

    def keep(self, now_ns: int) -> None:
        """A picture of the run came."""
        self._run_ns = now_ns

    def believed(self, now_ns: int) -> bool:
        """Whether what comes since the last change may begin a run."""
        since_ns = max(now_ns - self._last[0], now_ns - self._run_ns)
        return since_ns >= UNSTEADY_NS or now_ns - self._last[-1] >= LASTS_NS


class Sizes:
    """Numbers a camera's pictures: another size begins a new run. `size` (width, height) is that of the run.

    Where sizes go to and fro each change would end the running event and open another one. There a size begins a run
    only after 5 s; what comes of it before that is left out, and missing in the numbers.
    """

    def __init__(self) -> None:
        self._watch = SizeWatch()
        self._changes = Changes()
        self._index = 0
        self.size: tuple[int, int] | None = None
        self.left_out = 0

    def number(self, data: bytes, came_ns: int) -> int | None:
        """Of this picture in its run, 0 for the first one; None: it is left out."""
        if self._watch.changed(data):
            self._changes.add(came_ns)
        size, index = self._watch.size, self._index
        self._index += 1
        if size == self.size or self.size is None:
            self.size = size
            self._changes.keep(came_ns)
            return index
        if not self._changes.believed(came_ns):
            self.left_out += 1
            return None
        self._changes.keep(came_ns)
        self.size, self._index = size, 1
        return 0
