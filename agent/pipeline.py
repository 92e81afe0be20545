"""One camera wired: source → hub, recorder and detector → outboxes → sinks."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.clock import Clock, SystemClock
from agent.frame import Box, Clip, Codec, Decision, Frame, ItemType, Worth
from agent.frozen import Frozen, StillPicture
from agent.hub import Hub
from agent.judge import Analyse, Judge
from agent.media import clip as clips
from agent.media.size import size_of
from agent.motion import Looks, Schedule
from agent.outbox import MemorySpool, Outbox, Spooling
from agent.recorder import Closed, EventSettings, Opened, Recorder
from agent.sinks import Command, Feed, Orders, Sink
from agent.sources import Source
from agent.supervise import Health, supervise
from agent.why import Ring, Trail

log = logging.getLogger(__name__)

Observer = Callable[[str, Opened | Closed | Frozen], None]
DRAIN_S = 1.0
MAX_EVENT = 1 << 31
HEAD_NS = 5_000_000_000  # of an event; the rest is given up first when space runs out


@dataclass(slots=True)
class Counters:
    """One camera's numbers since its start."""

    frames: int = 0
    frame_bytes: int = 0
    lost_frames: int = 0
    analysed: int = 0
    undecodable: int = 0
    moving: int = 0
    events: int = 0
    clips: int = 0
    clip_bytes: int = 0
    frozen: int = 0


@dataclass(slots=True)
class Way:
    """One sink with its own outbox, so that one that is away holds nobody up."""

    sink: Sink
    outbox: Outbox
    health: Health = field(default_factory=Health)


class Pipeline:
    """Runs one camera until cancelled; `stop` lets what is open leave first.

    `analyse` decodes and judges one frame (in a thread of its own); None records nothing and only
    serves live view. It is called at most `analyses_per_s` times a second, with the newest frame (`Looks`); while an
    event lasts for two more seconds in any case, for those of up to two seconds in one go.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        sinks: list[Sink],
        *,
        analyse: Analyse | None,
        analyses_per_s: float = 5.0,
        schedule: Schedule | None = None,
        events: EventSettings | None = None,
        memory_bytes: int = 32 * 1024 * 1024,
        spool: Spooling | None = None,
        observer: Observer | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self.hub = Hub()
        self.counters = Counters()
        self.health = Health()
        self.decision = Decision(False)
        self.size: tuple[int, int] | None = None
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        keys = way_keys(sinks)
        self.spool = spool or MemorySpool(name, keys, memory_bytes)
        self.ways = [Way(s, self.spool.outbox(key)) for s, key in zip(sinks, keys, strict=True)]
        events = events or EventSettings()
        self.recorder = Recorder(events, self._emit, memory_bytes)
        self.recorder.events = (self.spool.next_seq - 1) % MAX_EVENT  # no event of this spool had such a number yet
        self.still_picture = StillPicture(events.frozen_after_s, self._frozen)
        self.why = Ring()
        self._trail: Trail | None = None
        self._analyse = analyse
        self._looks = Looks(analyses_per_s)
        self._observer = observer
        self._clock = clock or SystemClock()
        self._last: Frame | None = None
        self._judge: Judge | None = None
        self._judged: Frame | None = None
        self._head_until_ns = 0
        self._stopped = False
        self._gaps, self._gap_s = 0, 0.0  # between frames, lately
        self._live_due_ns = 0
        self._asked_until_ns = 0
        self.live_period_ns = 0  # between two frames of live view, at least
        self.armed = True
        self._schedule = schedule or Schedule()
        self.commands: dict[str, Command] = {}

    async def run(self) -> None:
        """Returns when the source has no more to come and everything was delivered."""
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self._deliver(w), name=f"{self.name}: {w.sink.label}") for w in self.ways]
            helpers.append(group.create_task(self.spool.run(), name=f"{self.name}: spool"))
            if self._analyse is not None:
                # A verdict that changes nothing waits for the next frame; one that opens an event does not.
                presses = lambda d: d.moving and not self.recorder.event  # noqa: E731
                self._judge = Judge(self.name, self._analyse, presses, self._hear, self._looks.period_s / 2)
                helpers.append(group.create_task(_minded(self._judge), name=f"{self.name}: motion"))
            await supervise(self.name, self._capture, self.health, clock=self._clock, once=True, eager=True)
            self.ended.set()
            await self.stop()
            for task in helpers:
                task.cancel()

    async def _capture(self) -> None:
        try:
            await self.source.run(self._publish)
        finally:
            if self._judge is not None:
                self._judge.forget()
            self._hear()
            self.recorder.end("source")

    async def stop(self) -> None:
        """Close the running event, begin no other, and give the sinks a moment to deliver what waits."""
        self._stopped = True
        self.recorder.end("stop")
        try:
            async with asyncio.timeout(DRAIN_S):
                await asyncio.gather(*(w.outbox.drained() for w in self.ways if w.health.up))
        except TimeoutError:
            pass

    def _publish(self, frame: Frame) -> int:
        """Called by the source for every frame; never waits. Returns until when nobody wants the next one."""
        c = self.counters
        c.frames += 1
        c.frame_bytes += len(frame.data)
        self.health.progress += 1
        last = self._last
        if frame.index == 0 or last is None:
            self._begin(frame)
        else:
            c.lost_frames += frame.index - last.index - 1
            self._gaps += 1
            gap_s = (frame.pts_ns - last.pts_ns) / 1e9
            self._gap_s += (gap_s - self._gap_s) * max(0.05, 1 / self._gaps)
        self._last = frame
        self.still_picture.frame(frame)
        if frame.codec is not Codec.JPEG or frame.pts_ns >= self._live_due_ns:
            self._live_due_ns = frame.pts_ns + self.live_period_ns * 9 // 10
            self.hub.publish(frame)
        self._hear()
        if not self._stopped:
            self.recorder.frame(frame)
        if frame.pts_ns < self._asked_until_ns:
            self._judged = frame
            self.recorder.decision(frame, Decision(True, reason="asked"))
        if self._judge is None:
            return 0
        settled_ns = self.recorder.settled_ns(frame)
        if row := self._looks.due(frame.pts_ns, settled_ns):
            self._judge.offer(frame, row)
        if self.hub.readers or self.recorder.young(frame):
            return 0
        return self._looks.unwanted_until_ns(frame.pts_ns, settled_ns)

    @property
    def fps(self) -> float:
        """Frames a second, lately; 0 before the second frame. Pictures that arrive in one piece do not raise it."""
        return 1 / self._gap_s if self._gap_s > 0 else 0.0

    @property
    def judged_every_s(self) -> float | None:
        """How often a picture is looked at for motion; None: never."""
        return None if self._analyse is None else self._looks.period_s

    def arm(self, armed: bool) -> None:
        """Whether motion makes events; live view goes on in any case."""
        if self.armed and not armed:
            self.recorder.end("disarmed")
        self.armed = armed

    def record_for(self, ns: int) -> None:
        """Record an event of this length from now on, whatever moves."""
        self._asked_until_ns = (self._last.pts_ns if self._last else 0) + ns

    def _begin(self, frame: Frame) -> None:
        self.health.worked(self.name, self._clock)
        self.size = size_of(frame)
        self._gaps, self._gap_s = 0, 0.0
        self._live_due_ns = self._asked_until_ns = 0
        self._looks.begin(frame.pts_ns)
        self.started.set()

    def _hear(self) -> None:
        """Take in what the judge has found since the last time."""
        if self._judge is None:
            return
        for frame, verdict in self._judge.verdicts():
            if isinstance(verdict, ValueError):
                self._undecodable(verdict)
                continue
            self._looks.found(frame.pts_ns, verdict.calm)
            self.counters.analysed += 1
            self.counters.moving += verdict.moving
            self.decision = verdict
            instead = self._instead(frame) if verdict.moving else ""
            self.why.judged(frame.wall_ns, verdict, instead)
            if not instead:
                self._judged = frame
                self.recorder.decision(frame, verdict)
                if self._trail is not None:
                    self._trail.judged(frame.wall_ns, verdict)

    def _instead(self, frame: Frame) -> str:
        """Why motion in this frame makes no event, "" if it does."""
        if not self.armed:
            return "disarmed"
        return "" if self._schedule.covers(frame.wall_ns) else "schedule"

    def _undecodable(self, e: ValueError) -> None:
        self.counters.undecodable += 1
        level = logging.WARNING if self.counters.undecodable == 1 else logging.DEBUG
        log.log(level, "%s: a picture could not be judged: %s", self.name, e)

    async def _deliver(self, way: Way) -> None:
        name = f"{self.name} → {way.sink.label}"
        feed = Feed(
            self.name, way.outbox, self.hub, lambda: way.health.worked(name, self._clock), Orders(self.commands)
        )
        await supervise(name, lambda: way.sink.run(feed), way.health, clock=self._clock)

    def _emit(self, what: Opened | Clip | Closed) -> None:
        """What the recorder lets go becomes an item in every outbox."""
        if isinstance(what, Clip):
            payload = clips.pack(what.frames, what.preroll)
            self.counters.clips += 1
            self.counters.clip_bytes += len(payload)
            self._head_until_ns = self._head_until_ns or what.frames[-1].pts_ns + HEAD_NS
            worth = Worth.HEAD if what.frames[0].pts_ns < self._head_until_ns else Worth.BODY
            self.spool.put(ItemType.CLIP, what.event, what.frames[0].wall_ns, payload, worth)
            return
        if isinstance(what, Opened):
            self.why.event(what.event, what.wall_ns, what.decision)
            self._trail = Trail(what.wall_ns)
            self._trail.judged(what.wall_ns, what.decision)
            fields = _opened(what)
        else:
            fields = _closed(what) | (self._trail.json() if self._trail else {})
            self._trail = None
        record = json.dumps(fields, separators=(",", ":"))
        self.spool.put(ItemType.EVENT, what.event, what.wall_ns, record.encode(), Worth.HEAD)
        if isinstance(what, Opened):
            self.counters.events += 1
            self._head_until_ns = 0
            self._show(what)
            log.info("%s: event %d begins, %.1f %% of the picture", self.name, what.event, what.decision.score * 100)
        else:
            seconds = (what.end_ns - what.wall_ns) / 1e9
            log.info("%s: event %d ended after %.1f s, %d frames", self.name, what.event, seconds, what.frames)
        if self._observer is not None:
            self._observer(self.name, what)

    def _frozen(self, what: Frozen) -> None:
        """An event record of its own, outside the events of motion."""
        record: dict[str, object] = {"event": 0, "state": "open", "reason": "frozen", "wall_ns": what.wall_ns}
        if what.end_ns:
            record = {"event": 0, "state": "closed", "why": "frozen", "wall_ns": what.wall_ns, "end_ns": what.end_ns}
            log.info("%s: the picture moves again", self.name)
        else:
            self.counters.frozen += 1
            log.warning("%s: the camera repeats one picture: it is frozen", self.name)
        text = json.dumps(record, separators=(",", ":"))
        self.spool.put(ItemType.EVENT, 0, what.wall_ns, text.encode(), Worth.HEAD)
        if self._observer is not None:
            self._observer(self.name, what)

    def _show(self, opened: Opened) -> None:
        """The picture that fired leaves before the clips: also over a slow line it is there in a moment."""
        frame = self._judged
        if frame is None or opened.follows:
            return
        data = frame.data if frame.codec is Codec.JPEG else opened.decision.still
        if data:
            self.spool.put(ItemType.STILL, opened.event, frame.wall_ns, data, Worth.HEAD)


def way_keys(sinks: list[Sink]) -> list[str]:
    """A name for each sink that stays the same over restarts; two to one address are told apart by a number."""
    labels = [s.label for s in sinks]
    return [f"{k}#{labels[:i].count(k) + 1}" if k in labels[:i] else k for i, k in enumerate(labels)]


async def _minded(judge: Judge) -> None:
    """Until cancelled; a bug in the detector leaves through here."""
    try:
        await judge.failed
    finally:
        judge.close()


def _boxes(boxes: tuple[Box, ...]) -> list[list[float]]:
    return [[round(v, 4) for v in (b.x, b.y, b.w, b.h)] for b in boxes]


def _opened(o: Opened) -> dict[str, object]:
    return {
        "event": o.event,
        "state": "open",
        "wall_ns": o.wall_ns,
        "score": round(o.decision.score, 4),
        "reason": o.decision.reason,
        "zone": o.decision.zone,
        "boxes": _boxes(o.decision.boxes),
        "follows": o.follows,
    }


def _closed(c: Closed) -> dict[str, object]:
    return {
        "event": c.event,
        "state": "closed",
        "wall_ns": c.wall_ns,
        "end_ns": c.end_ns,
        "peak": round(c.peak, 4),
        "boxes": _boxes(c.boxes),
        "frames": c.frames,
        "why": c.why,
    }
