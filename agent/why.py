"""Why there was an event, and why there was none: what was held back lately, and the course of the running event."""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from agent.frame import Box, Candidate, Decision

SECOND = 1_000_000_000
KEPT = 200
OPEN = 8
"""reasons and places that may go on at once; the oldest ends early"""
ENDS_NS = 2 * SECOND
GRID = 16
LONGEST_TRAIL_S = 600
BOXES = 4
"""of a second's best frame, the first so many: the detector gives the weightiest first"""
COURSE = 600
TOLD = 100


@dataclass(frozen=True, slots=True)
class Reason:
    """Something that was held back from `first_ns` to `last_ns` (UTC), in `count` analyses; `what` is its height.

    Or, with its number, an event that began: `evidence` is then 0 and `score` the share of the picture that moved.
    `id` names the entry in its ring, `change` grows with each change of the ring and is this one's last.
    """

    first_ns: int
    last_ns: int
    count: int
    what: Candidate
    id: int = 0
    change: int = 0
    event: int = 0
    score: float = 0.0

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "event": self.event,
            "score": round(self.score, 4),
            "first_ns": self.first_ns,
            "last_ns": self.last_ns,
            "count": self.count,
            "reason": self.what.reason,
            "box": _box(self.what.box),
            "evidence": self.what.evidence,
            "wanted": self.what.wanted,
            "zone": self.what.zone[:100],
        }


WHOLE = Box(0.0, 0.0, 1.0, 1.0)


class Ring:
    """The last KEPT reasons of one camera; what stays in one place for one reason is one entry."""

    def __init__(self) -> None:
        self._ended: deque[Reason] = deque(maxlen=KEPT)
        self._open: list[Reason] = []
        self._run = secrets.token_hex(4)
        self._changes = 0
        self.dropped = 0

    def judged(self, wall_ns: int, decision: Decision, instead: str = "") -> None:
        """What the detector said of the frame of `wall_ns`; `instead`: why motion makes no event now."""
        for r in [r for r in self._open if wall_ns - r.last_ns > ENDS_NS]:
            self._end(r)
        for hidden in decision.hidden:
            self._note(wall_ns, hidden)
        if instead and decision.moving:
            for box in decision.boxes:
                self._note(wall_ns, Candidate(instead, box, zone=decision.zone))

    def _note(self, wall_ns: int, hidden: Candidate) -> None:
        for i, r in enumerate(self._open):
            if r.what.reason == hidden.reason and _near(r.what.box, hidden.box):
                strongest = hidden if hidden.evidence >= r.what.evidence else r.what
                self._open[i] = replace(r, last_ns=wall_ns, count=r.count + 1, what=strongest, change=self._changed())
                return
        if len(self._open) >= OPEN:
            self._end(self._open[0])
        id_ = self._changed()
        self._open.append(Reason(wall_ns, wall_ns, 1, hidden, id_, id_))

    def event(self, number: int, wall_ns: int, decision: Decision) -> None:
        """An event began, for what `decision` says; what was too brief there a moment ago is its beginning."""
        change, box = self._changed(), decision.boxes[0] if decision.boxes else WHOLE
        began = [r for r in self._open if r.what.reason == "fleeting" and _near(r.what.box, box)]
        self._open = [r for r in self._open if r not in began]
        id_ = began[0].id if began else change
        what = Candidate(decision.reason, box, zone=decision.zone)
        self._keep(Reason(wall_ns, wall_ns, 1, what, id_, change, number, decision.score))

    def _changed(self) -> int:
        self._changes += 1
        return self._changes

    def _end(self, reason: Reason) -> None:
        self._open.remove(reason)
        self._keep(reason)

    def _keep(self, reason: Reason) -> None:
        self.dropped += len(self._ended) == KEPT
        self._ended.append(reason)

    def json(self) -> list[dict[str, Any]]:
        """Newest first."""
        return [r.json() for r in self._all()]

    def _all(self) -> list[Reason]:
        return [*reversed(self._open), *reversed(self._ended)]

    def since(self, run: str, after: int) -> dict[str, Any]:
        """The newest TOLD entries that changed after change number `after` of this `run`, and how far that goes.

        Another `run` is that of another ring, from before a start: then it is all of them.
        """
        entries = [r.json() for r in self._all() if run != self._run or r.change > after][:TOLD]
        return {"run": self._run, "change": self._changes, "entries": entries}


@dataclass(slots=True)
class Trail:
    """The course of one event, second by second, at most LONGEST_TRAIL_S of them, and analysis by analysis.

    Of these at most COURSE are kept: when there are more, each second one goes, as often as needed.
    """

    start_ns: int
    zone: str = ""
    biggest: Box | None = None
    _seconds: dict[int, tuple[float, tuple[Box, ...], bytearray]] = field(default_factory=dict)
    _course: list[tuple[int, float, tuple[Box, ...]]] = field(default_factory=list)
    _every: int = 1
    _left_out: int = 0

    def judged(self, wall_ns: int, decision: Decision) -> None:
        self._note(wall_ns, decision)
        if not decision.moving:
            return
        self.zone = self.zone or decision.zone
        second = (wall_ns - self.start_ns) // SECOND
        if not 0 <= second < LONGEST_TRAIL_S:
            return
        score, boxes, grid = self._seconds.get(second, (0.0, (), bytearray(GRID * GRID // 8)))
        for box in decision.boxes:
            mark(grid, box)
            if self.biggest is None or box.w * box.h > self.biggest.w * self.biggest.h:
                self.biggest = box
        if decision.score >= score:
            score, boxes = decision.score, decision.boxes
        self._seconds[second] = score, boxes, grid

    def _note(self, wall_ns: int, decision: Decision) -> None:
        self._left_out += 1
        if wall_ns < self.start_ns or self._left_out < self._every:
            return
        self._left_out = 0
        self._course.append(((wall_ns - self.start_ns) // 1_000_000, decision.score, decision.boxes[:BOXES]))
        if len(self._course) > COURSE:
            del self._course[1::2]
            self._every *= 2

    def json(self) -> dict[str, Any]:
        """As in the closing event record (docs/protocol.md)."""
        return {
            "course": [[ms, round(score, 4), [_box(b) for b in boxes]] for ms, score, boxes in self._course],
            "zone": self.zone,
            "biggest": _box(self.biggest) if self.biggest else None,
            "trail": [
                {"s": s, "score": round(score, 4), "boxes": [_box(b) for b in boxes[:BOXES]], "grid": grid.hex()}
                for s, (score, boxes, grid) in sorted(self._seconds.items())
            ],
        }


def mark(grid: bytearray, box: Box) -> None:
    """Set the bit of each of the 16 × 16 cells that the box touches: row by row from the top, high bit at the left."""
    x0, y0 = max(0, int(box.x * GRID)), max(0, int(box.y * GRID))
    x1 = min(GRID - 1, int((box.x + box.w) * GRID - 1e-9))
    y1 = min(GRID - 1, int((box.y + box.h) * GRID - 1e-9))
    for y in range(y0, y1 + 1):
        for x in range(x0, x1 + 1):
            grid[(y * GRID + x) // 8] |= 0x80 >> x % 8


def text(entries: list[dict[str, Any]], when: Any) -> list[str]:
    """A ring's JSON for people, a line each; `when` writes a time."""
    return [_line(e, when) for e in entries]


_WORDS = {
    "light": "only the light changed",
    "still": "differs, but does not move",
    "fleeting": "moved too little or too briefly",
    "small": "smaller than min_size",
    "large": "larger than max_size",
    "mask": "in a mask or outside all zones",
    "disarmed": "the camera is disarmed",
    "schedule": "outside the schedule",
    "motion": "something moved",
    "asked": "somebody asked for it",
    "upload": "the camera sent pictures",
}


def words(reason: str) -> str:
    """A reason's one word in words for people."""
    return _WORDS.get(reason, reason)


def _line(e: dict[str, Any], when: Any) -> str:
    x, y, w, h = (round(100 * v) for v in e["box"])
    seconds = (e["last_ns"] - e["first_ns"]) / SECOND
    numbers = f", evidence {e['evidence']:g} of {e['wanted']:g}" if e["wanted"] else ""
    zone = f", zone {e['zone']}" if e["zone"] else ""
    said = words(e["reason"])
    if e["event"]:
        return f"{when(e['first_ns'])}  event {e['event']}: {said}, {w}x{h} % at {x},{y} %, {e['score']:.1%}{zone}"
    return f"{when(e['first_ns'])}  {said} for {seconds:.1f} s, {w}x{h} % at {x},{y} %{numbers}{zone}"


def _box(b: Box) -> list[float]:
    return [round(v, 4) for v in (b.x, b.y, b.w, b.h)]


def _near(a: Box, b: Box) -> bool:
    """Whether the boxes overlap, grown by a twentieth of the picture."""
    by = 0.05
    return a.x - by < b.x + b.w and b.x - by < a.x + a.w and a.y - by < b.y + b.h and b.y - by < a.y + a.h
