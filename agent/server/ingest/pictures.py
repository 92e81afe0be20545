"""Pictures that come without an agent: live view for who looks, and events made of them by motion or by pause."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from agent.clock import Clock
from agent.frame import Box, Clip, Codec, Decision, Frame, Item, ItemType
from agent.media import clip, jpeg
from agent.recorder import Closed, EventSettings, Opened, Recorder
from agent.server.archive import Outcome
from agent.server.camera import Camera
from agent.server.ingest import Intake
from agent.server.ingest.journal import LARGE_BYTES, Journal
from agent.server.ingest.later import Later
from agent.server.ingest.scribe import Scribe
from agent.server.trouble import seen
from agent.why import Ring, Trail

log = logging.getLogger(__name__)

MAX_PICTURE_BYTES = 10 * 1024 * 1024
MAX_WAITING_BYTES = 16 * 1024 * 1024
UPLOADS_PER_S, BURST = 20, 100
PERIOD_NS = 200_000_000
RING_BYTES = 8 * 1024 * 1024

UPLOAD = Decision(True, reason="upload")

Judge = Callable[[Frame], Decision]


class NotAPicture(ValueError):
    """What came is no JPEG, or one that nobody should decode."""


def check(data: bytes) -> bool:
    """Whether the JPEG is whole. Raises NotAPicture for a picture bomb, and for what shows nothing."""
    try:
        return jpeg.whole(data)
    except jpeg.TooLarge as e:
        raise NotAPicture(str(e)) from None
    except ValueError as e:
        raise NotAPicture(f"not a JPEG picture: {e}") from None


class Pictures:
    """One camera's. `judges` is the pool that decodes; the detector is made with the first picture judged.

    Pictures of streams (`stream`) never wait; at most 16 MiB of clips are on their way to the disk, later ones
    are dropped, counted and declared. Single ones (`upload`) are durable when the call returns.
    """

    def __init__(
        self, camera: Camera, intake: Intake, clock: Clock, judges: ThreadPoolExecutor, scribe: Scribe
    ) -> None:
        self.camera = camera
        self.spool = secrets.token_hex(8)
        self.dropped = 0
        self._intake = intake
        self._clock = clock
        self._pool = judges
        self._judge: Judge | None = None
        self._seq = 0
        self._index = 0
        self._event = 0
        self._pauses: _Pause | None = None
        self._pause_over, self._motion_over = Later(self._end_pause), Later(self._recorder_quiet)
        self._waiting_bytes = 0
        self._stores: set[asyncio.Task[Outcome]] = set()
        self._judging: asyncio.Task[None] | None = None
        self._due_ns = 0
        self._allowance, self._allowed_ns = float(BURST), clock.monotonic_ns()
        self._recorder = Recorder(EventSettings(), self._emit, RING_BYTES)
        self._ring, self._trail = Ring(), Trail(0)
        camera.why.ring = self._ring
        self._events = 0
        self._numbers: dict[int, int] = {}  # the recorder's number of an event: ours
        of = (camera.name, camera.id, self.spool)
        self._journal = Journal(intake.archive, scribe, of, self._next_seq, partial(intake.take, camera, verified=True))

    def allowed(self) -> bool:
        """Whether one more upload may come now: 20 a second, and 100 at once after a while without."""
        now = self._clock.monotonic_ns()
        self._allowance = min(BURST, self._allowance + (now - self._allowed_ns) / 1e9 * UPLOADS_PER_S)
        self._allowed_ns = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    async def upload(self, data: bytes) -> tuple[Outcome, bool]:
        """One picture as a camera uploads it, and whether it is whole; what is cut off is stored as truncated.

        Raises NotAPicture. STORED means durable; with events by motion also: looked at, and nothing moved.
        """
        whole = check(data)
        frame = self._frame(data)
        if whole:
            self.camera.publish(frame)
        if not whole or self.camera.settings.events != "motion":
            return await self._paused(frame, whole), whole
        before = set(self._stores)
        self._recorder.frame(frame)
        await self._look(frame)
        self._motion_over.put_off(EventSettings().post_roll_s)
        outcomes = await asyncio.gather(*(self._stores - before))
        return next((o for o in outcomes if not o.settled), Outcome.STORED), whole

    def stream(self, data: bytes, first: bool = False) -> None:
        """A whole picture of a stream; `first` begins a run."""
        if first:
            self._index = 0
        frame = self._frame(data)
        self.camera.publish(frame)
        if self.camera.settings.events == "pause":
            self._keep(self._paused(frame, True))
            return
        self._recorder.frame(frame)
        if frame.pts_ns >= self._due_ns and (self._judging is None or self._judging.done()):
            self._due_ns = max(self._due_ns + PERIOD_NS, frame.pts_ns + PERIOD_NS // 2)
            self._judging = asyncio.ensure_future(self._look(frame))

    async def close(self) -> None:
        """The stream or the server ends: what is open leaves and is stored."""
        self._pause_over.cancel()
        self._motion_over.cancel()
        if self._judging is not None:
            await asyncio.gather(self._judging, return_exceptions=True)
        self._recorder.end("stop")
        self._end_pause()
        await self.settled()
        await self._journal.close()

    def abandon(self) -> None:
        """The camera is deleted."""
        self._pause_over.cancel()
        self._motion_over.cancel()
        self._pauses = None
        self._journal.stop(Outcome.GONE)

    def leave(self) -> None:
        """What is not stored by now is for the next start."""
        self._journal.stop(Outcome.FULL)

    async def settled(self) -> None:
        """Wait for what is on its way to the archive now."""
        if self._stores:
            await asyncio.wait(self._stores)
        await self._journal.flush()

    @property
    def pending(self) -> bool:
        """Whether something is on its way to the archive."""
        return bool(self._stores) or self._journal.pending

    def end_run(self) -> None:
        """A stream's connection is gone."""
        self._recorder.end("source")
        self._end_pause()

    def _frame(self, data: bytes) -> Frame:
        frame = Frame(Codec.JPEG, data, True, self._clock.monotonic_ns(), self._clock.wall_ns(), self._index)
        self._index += 1
        return frame

    async def _look(self, frame: Frame) -> None:
        """Decode and judge in the pool; undecodable pictures move nothing."""
        try:
            decision = await asyncio.get_running_loop().run_in_executor(self._pool, self._decide, frame)
        except ValueError as e:
            log.debug("%s: a picture could not be judged: %s", self.camera.name, e)
            return
        self._ring.judged(frame.wall_ns, decision)
        self._recorder.decision(frame, decision)
        if self._recorder.event:
            self._trail.judged(frame.wall_ns, decision)

    def _decide(self, frame: Frame) -> Decision:
        if self._judge is None:
            from agent import motion
            from agent.motion.luma import luma

            detector = motion.create(motion.MotionSettings())
            self._judge = lambda f: detector.update(luma(f), f.pts_ns / 1e9)
        return self._judge(frame)

    async def _paused(self, frame: Frame, whole: bool) -> Outcome:
        """Each picture is durable as it comes; a pause ends the event."""
        pause = self._pauses
        if pause is None:
            pause = self._pauses = _Pause(self._next_event(), frame.wall_ns)
            record = _opened(pause.number, frame.wall_ns, UPLOAD, 0)
            self._put(ItemType.EVENT, pause.number, frame.wall_ns, record)
        pause.frames += 1
        pause.last_ns = frame.wall_ns
        self._pause_over.put_off(self.camera.settings.pause_s)
        if len(frame.data) < LARGE_BYTES:
            return await self._journaled(frame, pause.number, whole)
        if pause.frames == 1:
            await asyncio.sleep(0)  # the event's record goes first
        payload = clip.pack((frame,), truncated=not whole)
        return await self._stored(self._item(ItemType.CLIP, pause.number, frame.wall_ns, payload))

    async def _journaled(self, frame: Frame, event: int, whole: bool) -> Outcome:
        """Uploads wait for the journal; of a stream, what came while too much waits is given up."""
        self._waiting_bytes += len(frame.data)
        try:
            if self._crowded:
                self.dropped += 1
                return self._intake.archive.count(Outcome.FULL)
            return await self._journal.put(frame, event, truncated=not whole)
        finally:
            self._waiting_bytes -= len(frame.data)

    @property
    def _crowded(self) -> bool:
        return self._waiting_bytes > MAX_WAITING_BYTES + MAX_PICTURE_BYTES

    def _end_pause(self) -> None:
        pause, self._pauses = self._pauses, None
        if pause is not None:
            self._keep(self._close_event(pause))

    async def _close_event(self, pause: _Pause) -> Outcome:
        """Its pictures first: an event that is over may be deleted."""
        await self._journal.flush()
        record = _closed(Closed(pause.number, pause.at_ns, pause.last_ns, 0.0, pause.frames, "quiet"), pause.number)
        return await self._stored(self._item(ItemType.EVENT, pause.number, pause.last_ns, record))

    def _recorder_quiet(self) -> None:
        self._recorder.end("quiet")

    def _emit(self, what: Opened | Clip | Closed) -> None:
        """What the recorder lets go becomes an item."""
        if isinstance(what, Opened):
            follows = self._numbers.get(what.follows, 0)
            self._numbers = {what.event: (number := self._next_event())}
            self._ring.event(number, what.wall_ns, what.decision)
            self._trail = Trail(what.wall_ns)
            self._put(ItemType.EVENT, number, what.wall_ns, _opened(number, what.wall_ns, what.decision, follows))
            return
        number = self._numbers[what.event]
        if isinstance(what, Clip):
            self._put(ItemType.CLIP, number, what.frames[0].wall_ns, clip.pack(what.frames, what.preroll))
        else:
            self._put(ItemType.EVENT, number, what.wall_ns, _closed(what, number, self._trail))

    def _next_event(self) -> int:
        self._events += 1
        return self._events

    def _put(self, type_: ItemType, event: int, wall_ns: int, payload: bytes) -> None:
        """Send it to the disk; nobody waits for it."""
        self._keep(self._stored(self._item(type_, event, wall_ns, payload)))

    def _keep(self, storing: Coroutine[Any, Any, Outcome]) -> None:
        self._stores.add(task := asyncio.ensure_future(storing))
        task.add_done_callback(self._stores.discard)
        task.add_done_callback(seen)

    def _item(self, type_: ItemType, event: int, wall_ns: int, payload: bytes) -> Item:
        """With the next number."""
        digest = Item.digest(payload)
        return Item(self.camera.name, self.spool, self._next_seq(), type_, event, wall_ns, payload, digest)

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    async def _stored(self, item: Item) -> Outcome:
        """What became of it; clips of which too much waits already are given up."""
        self._waiting_bytes += len(item.payload)
        crowded = self._crowded and item.type is ItemType.CLIP
        try:
            return await (self._refuse(item) if crowded else self._take(item))
        finally:
            self._waiting_bytes -= len(item.payload)

    async def _take(self, item: Item) -> Outcome:
        outcome = await self._intake.take(self.camera, item, verified=True)
        if not outcome.settled and outcome is not Outcome.GONE:
            log.warning("%s: a picture was not stored: %s", self.camera.name, outcome.value)
        return outcome

    async def _refuse(self, item: Item) -> Outcome:
        self.dropped += 1
        await self._intake.declare(self.camera, item.spool, item.seq, item.seq, "quota")
        return Outcome.FULL


class _Pause:
    """The event that goes on until nothing comes for a while."""

    def __init__(self, number: int, at_ns: int) -> None:
        self.number = number
        self.at_ns = self.last_ns = at_ns
        self.frames = 0


def _boxes(boxes: tuple[Box, ...]) -> list[list[float]]:
    return [[round(v, 4) for v in (b.x, b.y, b.w, b.h)] for b in boxes]


def _opened(number: int, wall_ns: int, decision: Decision, follows: int) -> bytes:
    record = {"event": number, "state": "open", "wall_ns": wall_ns, "score": round(decision.score, 4)}
    return json.dumps(
        record | {"reason": decision.reason, "boxes": _boxes(decision.boxes), "follows": follows}
    ).encode()


def _closed(c: Closed, number: int, trail: Trail | None = None) -> bytes:
    record = {"event": number, "state": "closed", "wall_ns": c.wall_ns, "end_ns": c.end_ns, "peak": round(c.peak, 4)}
    more = {"boxes": _boxes(c.boxes), "frames": c.frames, "why": c.why}
    return json.dumps(record | more | (trail.json() if trail else {}), separators=(",", ":")).encode()
