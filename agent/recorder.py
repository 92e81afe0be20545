"""Events with exact pre-roll and post-roll, cut into short clips while they happen; pure: no I/O, no clock.

Time is the frames' own `pts_ns`. A decision may come later than the frames after its own (analysis is
slower than capture): the pre-roll is measured from the frame that was judged, not from now.

Frames of H.264 and H.265 lean on those before them, so the pre-roll begins with the keyframe before its time.
Clips are cut by the same times, also inside a group of pictures; each frame says how far back its keyframe is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

from agent.errors import ConfigError
from agent.frame import Box, Clip, Decision, Frame
from agent.schema import above, at_least, at_most

SECOND = 1_000_000_000
SHORT_NS = 250_000_000  # a clip's length while an event is young: who pulls the plug has lost at most this
LONG_NS = SECOND
YOUNG_NS = 2 * SECOND
CLIP_BYTES = 8 * 1024 * 1024  # of pictures in a clip: a second of a 4K camera's would be more than a server takes


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSettings:
    """Seconds around the motion, when an event is cut, and when a picture that repeats is an event (0: never)."""

    pre_roll_s: Annotated[float, at_least(0), at_most(60)] = 2.0
    post_roll_s: Annotated[float, at_least(0), at_most(600)] = 5.0
    merge_gap_s: Annotated[float, at_least(0), at_most(600)] = 5.0
    longest_s: Annotated[float, above(0), at_most(86400)] = 600.0
    frozen_after_s: Annotated[float, at_least(0), at_most(86400)] = 60.0

    def __post_init__(self) -> None:
        if self.merge_gap_s > self.post_roll_s + self.pre_roll_s:
            raise ConfigError(
                f"merge_gap_s ({self.merge_gap_s:g}) is more than post_roll_s + pre_roll_s "
                f"({self.post_roll_s + self.pre_roll_s:g}): frames between merged events would be lost"
            )


@dataclass(frozen=True, slots=True)
class Opened:
    """An event began: `wall_ns` of the motion's first frame; `follows` is the event that it continues, or 0."""

    event: int
    wall_ns: int
    decision: Decision
    follows: int


@dataclass(frozen=True, slots=True)
class Closed:
    """An event ended. `why`: quiet, long, source (the run ended) or stop."""

    event: int
    wall_ns: int
    end_ns: int
    peak: float
    frames: int
    why: str
    boxes: tuple[Box, ...] = ()


Emit = Callable[[Opened | Clip | Closed], None]


@dataclass(slots=True)
class _Open:
    """The running event."""

    number: int
    first: Frame
    last_motion: Frame
    latest: Decision
    peak: Decision
    frames: int = 0


class Recorder:
    """One camera's events. Feed `frame` and `decision`; what leaves goes to `emit` in order.

    Keeps at most `max_bytes` of pre-roll; older frames go first and are counted in `preroll_trimmed`.
    """

    def __init__(self, settings: EventSettings, emit: Emit, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._pre_ns = round(settings.pre_roll_s * SECOND)
        self._post_ns = round(settings.post_roll_s * SECOND)
        self._gap_ns = max(self._post_ns, round(settings.merge_gap_s * SECOND))
        self._longest_ns = round(settings.longest_s * SECOND)
        self._emit = emit
        self._max_bytes = max_bytes
        self._ring: deque[Frame] = deque()  # frames that no clip holds yet, oldest first
        self._ring_bytes = 0
        self._event: _Open | None = None
        self._left_ns = 0  # the last frame that left
        self._run_ns = 0  # when the run began
        self.events = 0
        self.preroll_trimmed = 0

    @property
    def event(self) -> int:
        """Number of the running event, 0 for none."""
        return self._event.number if self._event else 0

    def settled_ns(self, frame: Frame) -> int:
        """How long the running event lasts from this frame on, whatever the detector finds; 0 without one."""
        if self._event is None:
            return 0
        return max(0, self._event.last_motion.pts_ns + self._post_ns - frame.pts_ns)

    def young(self, frame: Frame) -> bool:
        """Whether an event runs whose clips are short, so that little is lost with the camera."""
        return self._event is not None and frame.pts_ns - self._event.first.pts_ns < YOUNG_NS

    def frame(self, frame: Frame) -> None:
        """A captured frame; index 0 begins a new run and closes the event of the old one."""
        if frame.index == 0:
            self.end("source")
            self._run_ns = frame.pts_ns
        self._ring.append(frame)
        self._ring_bytes += len(frame.data)
        if self._event is None:
            self._trim(frame)
        else:
            self._advance(self._event, frame)

    def decision(self, frame: Frame, decision: Decision) -> None:
        """What the detector says of a frame given before; decisions for a run that has ended are ignored."""
        if not decision.moving or frame.pts_ns < self._run_ns:
            return
        if self._event is not None:
            if frame.pts_ns < self._event.first.pts_ns:
                return
            self._event.last_motion, self._event.latest = frame, decision
            if decision.score > self._event.peak.score:
                self._event.peak = decision
        elif self._ring and frame.pts_ns >= self._ring[-1].pts_ns - max(self._gap_ns, SECOND):
            self._open(frame, decision, 0)

    def end(self, why: str) -> None:
        """The run or the program ends: what is open leaves at once, the rest is forgotten."""
        if self._event is not None:
            self._flush(self._event, len(self._ring))
            self._close(self._event, why)
        self._ring.clear()
        self._ring_bytes = 0

    def _open(self, frame: Frame, decision: Decision, follows: int) -> None:
        self.events += 1
        event = self._event = _Open(self.events, frame, frame, decision, decision)
        self._emit(Opened(event.number, frame.wall_ns, decision, follows))
        self._forget_before(frame.pts_ns - self._pre_ns)
        self._flush(event, len(self._ring))

    def _advance(self, event: _Open, frame: Frame) -> None:
        """One more frame of a running event: cut a clip, end, or cut the event when it is long."""
        quiet = frame.pts_ns - event.last_motion.pts_ns
        if quiet > self._post_ns:
            self._flush(event, sum(f.pts_ns <= event.last_motion.pts_ns + self._post_ns for f in self._ring))
            if quiet > self._gap_ns:
                self._close(event, "quiet")
                self._trim(frame)
            self._bound()
            return
        begun = self._ring[0].pts_ns
        due = frame.pts_ns - begun + self._interval() >= _length(begun - event.first.pts_ns)
        if due or self._ring_bytes + len(frame.data) > CLIP_BYTES:
            self._flush(event, len(self._ring))
        # Not within a post-roll: its rest would become an event without motion.
        if frame.pts_ns - event.first.pts_ns >= self._longest_ns and quiet < SECOND:
            self._cut(event, frame)

    def _interval(self) -> int:
        """Time that the next frame will add; a clip is cut before it grows over its length, or over its bytes."""
        if len(self._ring) < 2:
            return 0
        return (self._ring[-1].pts_ns - self._ring[0].pts_ns) // (len(self._ring) - 1)

    def _cut(self, event: _Open, frame: Frame) -> None:
        self._flush(event, len(self._ring))
        last = event.last_motion
        self._close(event, "long")
        self._open(frame, event.latest, event.number)
        assert self._event is not None
        self._event.last_motion = last

    def _close(self, event: _Open, why: str) -> None:
        last_ns = event.last_motion.pts_ns
        end_ns = min(last_ns + self._post_ns, max(self._ring[-1].pts_ns if self._ring else self._left_ns, last_ns))
        self._event = None
        self._emit(
            Closed(
                event.number,
                event.first.wall_ns,
                event.first.wall_ns + end_ns - event.first.pts_ns,  # as long as it was, though the clock was set
                event.peak.score,
                event.frames,
                why,
                event.peak.boxes,
            )
        )

    def _flush(self, event: _Open, count: int) -> None:
        """Emit the ring's first `count` frames as clips no longer than the event's age allows."""
        frames = [self._pop() for _ in range(count)]
        if frames:
            self._left_ns = frames[-1].pts_ns
        event.frames += len(frames)
        for group in _groups(frames, event.first.pts_ns):
            preroll = sum(f.pts_ns < event.first.pts_ns for f in group)
            self._emit(Clip(event.number, tuple(group), preroll))

    def _trim(self, newest: Frame) -> None:
        """Forget frames older than the pre-roll, counted from the oldest that a late decision may name."""
        if newest.keyframe:
            self._forget_before(newest.pts_ns - self._pre_ns - SECOND)
        self._bound()

    def _bound(self) -> None:
        while self._ring_bytes > self._max_bytes and len(self._ring) > 1:
            for _ in range(self._group()):
                self._pop()
                self.preroll_trimmed += 1

    def _forget_before(self, limit_ns: int) -> None:
        """Forget the groups that end before this time: what is left begins with the keyframe that it leans on."""
        while self._ring and self._ring[0].pts_ns < limit_ns:
            count = self._group()
            if self._ring[count - 1].pts_ns >= limit_ns:
                return
            for _ in range(count):
                self._pop()

    def _group(self) -> int:
        """How many frames the ring's first group has: up to the next keyframe (of JPEGs: one)."""
        frames = iter(self._ring)
        next(frames)
        count = 1
        for frame in frames:
            if frame.keyframe:
                break
            count += 1
        return count

    def _pop(self) -> Frame:
        frame = self._ring.popleft()
        self._ring_bytes -= len(frame.data)
        return frame


def _length(age_ns: int) -> int:
    """How long a clip may be that begins at this age of its event; negative: in the pre-roll."""
    return SHORT_NS if 0 <= age_ns < YOUNG_NS else LONG_NS


def _groups(frames: list[Frame], start_ns: int) -> Iterator[list[Frame]]:
    """Cut frames into stretches of at most a second, at most 250 ms within the event's first 2 s, and of CLIP_BYTES.

    A single frame may be larger.
    """
    group: list[Frame] = []
    size = 0
    for frame in frames:
        long = group and frame.pts_ns - group[0].pts_ns >= _length(group[0].pts_ns - start_ns)
        if group and (long or size + len(frame.data) > CLIP_BYTES):
            yield group
            group, size = [], 0
        group.append(frame)
        size += len(frame.data)
    if group:
        yield group
