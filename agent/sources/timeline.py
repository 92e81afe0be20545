"""From a camera's own time stamps, which wrap, jump and drift, to this machine's monotonic time."""

from __future__ import annotations

MAX_STEP_NS = 10_000_000_000
MAX_BEHIND_NS = 5_000_000_000
MAX_AHEAD_NS = 100_000_000  # what a camera is early by is no burst
USUAL_STEP_NS = 40_000_000


class Timeline:
    """Keeps the camera's spacing while its clock runs like ours; rises always, whatever the camera says.

    A step back (a wrap: RTP's 32 bits do after 13 hours) or one of more than 10 s (a clock that was set) is no
    time: there the moment of arrival decides. A camera that sends a burst first, or whose clock is fast, would get
    ahead of now: then the steps are halved until it does not. One that falls 5 s behind is taken to now at once.
    With `paced` (films) the stamps may run ahead, and whoever reads waits for them.
    """

    def __init__(self, paced: bool = False) -> None:
        self._paced = paced
        self._stamp_ns: int | None = None
        self._step_ns = USUAL_STEP_NS
        self._at_ns: int | None = None

    def at(self, stamp_ns: int | None, now_ns: int) -> int:
        """Monotonic nanoseconds of the frame with this stamp (None: it has none), which arrived at `now_ns`."""
        if self._at_ns is None:
            at_ns = now_ns
        else:
            step_ns = self._step(stamp_ns)
            at_ns = now_ns if step_ns is None else self._at_ns + step_ns
            if step_ns is not None and not self._paced:
                if at_ns - now_ns > MAX_AHEAD_NS:
                    at_ns = min(self._at_ns + step_ns // 2, now_ns + MAX_STEP_NS)
                elif now_ns - at_ns > MAX_BEHIND_NS:
                    at_ns = now_ns
            at_ns = max(at_ns, self._at_ns + 1_000)
        if stamp_ns is not None:
            self._stamp_ns = stamp_ns
        elif self._stamp_ns is not None:
            self._stamp_ns += self._step_ns
        self._at_ns = at_ns
        return at_ns

    def _step(self, stamp_ns: int | None) -> int | None:
        """Nanoseconds since the frame before, None where the stamps do not tell."""
        if stamp_ns is None or self._stamp_ns is None:
            return self._step_ns
        if not 0 < stamp_ns - self._stamp_ns <= MAX_STEP_NS:
            return None
        self._step_ns = stamp_ns - self._stamp_ns
        return self._step_ns
