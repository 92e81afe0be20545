"""Sees that a camera repeats one picture byte for byte: it hangs, or somebody plays it a loop of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.frame import Frame


@dataclass(frozen=True, slots=True)
class Frozen:
    """A camera's picture stands still since `wall_ns` (UTC); `end_ns` 0 while it does, else when it moved again."""

    wall_ns: int
    end_ns: int = 0


class StillPicture:
    """Feed `frame`; after `after_s` seconds of equal pictures, and when that is over, `emit` is told. 0: never.

    A sensor's noise makes each picture different, so equal bytes are no quiet scene. Runs do not matter: a camera
    that restarts with the same picture is still frozen. Costs a comparison, which ends at the first byte that
    differs.
    """

    def __init__(self, after_s: float, emit: Callable[[Frozen], None]) -> None:
        self._after_ns = round(after_s * 1e9)
        self._emit = emit
        self._first: Frame | None = None
        self.frozen: Frozen | None = None

    def frame(self, frame: Frame) -> None:
        first = self._first
        if first is None or first.data != frame.data:
            self._first = frame
            if self.frozen is not None:
                over, self.frozen = Frozen(self.frozen.wall_ns, frame.wall_ns), None
                self._emit(over)
        elif self.frozen is None and self._after_ns and frame.pts_ns - first.pts_ns >= self._after_ns:
            self.frozen = Frozen(first.wall_ns)
            self._emit(self.frozen)
