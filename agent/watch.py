"""One-shot temporary surveillance: agent and embedded server for a while, and nothing left behind."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import glob
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from agent import __version__, cloudevents, sources
from agent.app import Agent, AgentConfig, CameraConfig
from agent.console import Console
from agent.discover import picameras, v4l2
from agent.dispatch.listen import lan_address
from agent.errors import AgentError, PermanentError, TransientError, UsageError
from agent.exits import CANNOT_WRITE, TRY_LATER
from agent.frozen import Frozen
from agent.motion import MotionSettings
from agent.outbox import MemoryOutbox
from agent.recorder import Closed, Opened
from agent.server.app import CameraServer, ServerSettings
from agent.sources import Source

USUAL_PORT = 8088
FIRST_PICTURE_S = 10.0
FIND_S = 3.0
PATIENT_FAILURES = 3
MANY = 10
GIB = 1 << 30
LEFT = (errno.EPIPE, errno.EIO)  # the reader of the pipe, the terminal
DIRECTORY = "camera-agent-watch-"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """What the command line said. `source` "" means: the first camera that is found, else the demo scene."""

    source: str = ""
    for_s: float = 3600.0
    keep: str | None = None
    json: bool = False
    port: int | None = None
    local: bool = False
    motion: MotionSettings = field(default_factory=MotionSettings)


def first_camera() -> tuple[Source, str]:
    """The first camera of this machine, a Pi's own before webcams, else the demo scene; and a word why."""
    for text in [f"picamera://{c.where}" for c in picameras.attached(FIND_S)] or [c.where for c in v4l2.attached()]:
        return sources.from_text(text), "the first camera that was found"
    return sources.from_text("demo"), "built-in scene, because no camera was found"


class Store:
    """Where a watch records: DIR to keep, or a directory of its own that is deleted at the end.

    A killed watch leaves its directory; the next one finds it by the lock that nobody holds any more.
    """

    def __init__(self, keep: str | None) -> None:
        self.keep = keep is not None
        self.begun = False
        try:
            if keep is not None:
                self.path = Path(keep).expanduser()
                self._made = not self.path.exists()
                self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            else:
                bases = [b for b in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()) if b]
                for base in bases:  # both: what was left in the first may have filled it
                    _remove_leftovers(base)
                base = bases[0] if _free(bases[0]) > GIB // 2 else bases[-1]
                self.path = Path(tempfile.mkdtemp(prefix=DIRECTORY, dir=base))
            self._lock = open(self.path / "watch.lock", "w")  # noqa: SIM115 held until the end
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{self.path}: another watch records there", CANNOT_WRITE) from None
        except OSError as e:
            raise UsageError(f"{e.filename or keep}: cannot record there: {e.strerror}", CANNOT_WRITE) from None

    @property
    def max_bytes(self) -> int | None:
        """The most that recordings may take: for a temporary directory half of what is free, at most 2 GiB."""
        return None if self.keep else max(min(_free(str(self.path)) // 2, 2 * GIB), 16 << 20)

    def close(self) -> None:
        """Delete it; keep what is to be kept, unless it was made for a watch that never began."""
        self._lock.close()
        if self.keep and (self.begun or not self._made):
            (self.path / "watch.lock").unlink(missing_ok=True)
        else:
            shutil.rmtree(self.path, ignore_errors=True)

    def left(self) -> bool:
        return self.path.exists()


def _free(path: str) -> int:
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return 0


def _remove_leftovers(base: str) -> None:
    for lock in glob.glob(os.path.join(glob.escape(base), DIRECTORY + "*", "watch.lock")):
        with suppress(OSError), open(lock) as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(os.path.dirname(lock), ignore_errors=True)


def _repeated(record: logging.LogRecord) -> bool:
    """Not what ends the command: its last line says it."""
    return record.levelno < logging.ERROR


class Watch:
    """One session from its first line to its last; `until` set ends it.

    `damaged` says how many pictures were damaged since it was last asked, though something of them was decoded.
    """

    def __init__(self, options: WatchOptions, damaged: Callable[[], int] = lambda: 0) -> None:
        self.options = options
        self._damaged_lately = damaged
        self._damaged = 0
        self.until = asyncio.Event()
        self._unheard: OSError | None = None
        self.console = Console(options.json, self._gone)
        if options.source:
            self.source, self.why = sources.from_text(options.source), ""
        else:
            self.source, self.why = first_camera()
        self.camera = type(self.source).__name__.removesuffix("Source").lower()
        self.store = Store(options.keep)
        self._begin = time.monotonic()
        self._links = 0
        self._notes: dict[str, object] = {"kept": self.store.keep}
        self._end_at(self._begin + options.for_s)

    def _end_at(self, ends: float) -> None:
        """The page says it, too."""
        self._ends = ends
        self._notes["ends_at"] = cloudevents.rfc3339(round((time.time() + ends - time.monotonic()) * 1e9))

    async def run(self) -> None:
        """Raises AgentError when the camera never came; otherwise ends by time, signal or key."""
        trouble: AgentError | None = None
        try:
            urls = await self._start()
            self.store.begun = True
            try:
                await self._session(urls)
            except AgentError as e:
                trouble = e
            finally:
                await self.agent.close()
        finally:
            self.store.close()
        trouble = trouble or self._unstored()
        self._goodbye(trouble)
        if self._unheard is not None and self._unheard.errno not in LEFT:
            trouble = UsageError(f"cannot write what there is to say: {self._unheard.strerror}", CANNOT_WRITE)
        if trouble is not None:
            raise trouble

    def _unstored(self) -> AgentError | None:
        """Events were seen and are not there: the disk is full, as a rule."""
        (way,) = self.agent.pipelines[0].ways
        lost = way.outbox.backlog().waiting_items
        if way.health.up or not lost:
            return None
        return UsageError(f"{lost} items of the events were not stored: {way.health.error}", CANNOT_WRITE)

    def _gone(self, e: OSError) -> None:
        """Nobody reads any more what is said: that is an end, too."""
        self._unheard = e
        self.until.set()

    async def _start(self) -> list[str]:
        """The page's addresses; when nobody asked for a port and the usual one is taken, any free one will do."""
        if self.options.port is not None:
            return await self._serve(self.options.port)
        try:
            return await self._serve(USUAL_PORT)
        except UsageError as e:
            if e.exit_code != TRY_LATER:
                raise
            return await self._serve(0)

    async def _serve(self, port: int) -> list[str]:
        self.agent = self._agent(port)
        try:
            return await self.agent.start_server()
        except BaseException:
            await self.agent.close()
            raise

    def _agent(self, port: int) -> Agent:
        lan = None if self.options.local else lan_address()
        self.server = CameraServer(
            ServerSettings(
                host="0.0.0.0" if lan else "127.0.0.1",
                port=port,
                store=str(self.store.path),
                max_bytes=self.store.max_bytes,
            ),
            durable=self.store.keep,
            notes=self._notes,
        )
        self._lan = lan
        camera = CameraConfig(self.camera, self.source, self.options.motion)
        return Agent(AgentConfig((camera,)), observer=self._observe, server=self.server)

    def link(self, host: str = "127.0.0.1") -> str:
        """A single-use link to the page."""
        self._links += 1
        return f"http://{host}:{self._port}{self.server.join_link()}"

    async def _session(self, urls: list[str]) -> None:
        self._port = int(urls[0].rsplit(":", 1)[1].strip("/"))
        self._hello()
        work = asyncio.create_task(self.agent.run(self.until))
        timer = asyncio.create_task(self._timer())
        first = asyncio.create_task(self._first_picture())
        try:
            with self.console.keys(self._key):
                done, _ = await asyncio.wait([work, first], return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                if not work.done():
                    await work
                await self.until.wait()
            self._had_a_picture()
        finally:
            for task in (timer, first):
                task.cancel()
            self.until.set()
            await asyncio.gather(work, timer, first, return_exceptions=True)

    async def _first_picture(self) -> None:
        """Raise when the camera cannot be had: somebody is waiting in front of the screen."""
        pipeline = self.agent.pipelines[0]
        start = time.monotonic()
        supervising = logging.getLogger("agent.supervise")
        supervising.addFilter(_repeated)
        try:
            while not pipeline.started.is_set() and not pipeline.ended.is_set():
                health = pipeline.health
                if health.refused:
                    raise PermanentError(health.error, health.exit_code)
                if health.failures >= PATIENT_FAILURES and time.monotonic() - start > FIRST_PICTURE_S:
                    raise TransientError(health.error)
                await asyncio.sleep(0.05)
        finally:
            supervising.removeFilter(_repeated)
        await self.until.wait()

    def _had_a_picture(self) -> None:
        """Raise when the time is over and the camera never came."""
        pipeline = self.agent.pipelines[0]
        if time.monotonic() >= self._ends and not pipeline.started.is_set():
            raise TransientError(pipeline.health.error or f"{self.source.label}: no picture came")

    async def _timer(self) -> None:
        pipeline = self.agent.pipelines[0]
        ended_said = damage_said = False
        while (left := self._ends - time.monotonic()) > 0:
            self.console.status(pipeline, left, self.server.viewers())
            looked, bad = self._looked()
            if bad >= MANY and 2 * bad > looked and not damage_said:
                damage_said = True
                self.console.say("most of the camera's pictures are damaged: motion cannot be seen in them")
            if pipeline.ended.is_set() and not ended_said:
                ended_said = True
                self.console.say("the film has come to its end; the page stays until the watch ends")
            await asyncio.sleep(min(0.5, left))
        self.until.set()

    def _looked(self) -> tuple[int, int]:
        """How many pictures were looked at for motion, and how many of these were damaged."""
        self._damaged += self._damaged_lately()
        c = self.agent.pipelines[0].counters
        looked = c.analysed + c.undecodable
        return looked, min(looked, c.undecodable + self._damaged)

    def _key(self, key: str) -> None:
        if key == "q":
            self.until.set()
        elif key == "+":
            self._end_at(self._ends + 900)
            self.console.say("15 minutes more")
        elif key == "r":
            self.console.link(self.link(self._lan or "127.0.0.1"))

    def _hello(self) -> None:
        end = time.time() + self.options.for_s
        here = self.link()
        phone = self.link(self._lan) if self._lan else None
        kept = str(self.store.path) if self.store.keep else None
        data = {
            "camera": self.camera,
            "device": self.source.label,
            "url": here,
            "ends": cloudevents.rfc3339(round(end * 1e9)),
            "kept": kept,
            "version": __version__,
        }
        self.console.event("watch.started", self.camera, data, time.time_ns())
        self.console.hello(self.source.label, self.why, end, self.options.for_s, here, phone, kept, self.options.motion)

    def _observe(self, camera: str, what: Opened | Closed | Frozen) -> None:
        if isinstance(what, Frozen):
            kind = "camera.moved" if what.end_ns else "camera.frozen"
            self.console.event(
                kind, camera, {"since": cloudevents.rfc3339(what.wall_ns)}, what.end_ns or time.time_ns()
            )
            return
        page = f"http://127.0.0.1:{self._port}/#event={camera}/{what.event}"
        if isinstance(what, Opened):
            boxes = [[round(v, 4) for v in (b.x, b.y, b.w, b.h)] for b in what.decision.boxes]
            data = {
                "event": what.event,
                "score": round(what.decision.score, 4),
                "boxes": boxes,
                "follows": what.follows,
            }
            self.console.event("motion.started", camera, data, what.wall_ns)
        else:
            seconds = round((what.end_ns - what.wall_ns) / 1e9, 2)
            data = {"event": what.event, "seconds": seconds, "peak": round(what.peak, 4), "frames": what.frames}
            self.console.event("motion.ended", camera, data | {"why": what.why}, what.end_ns)
            self.console.motion(what, seconds, page)

    def _goodbye(self, trouble: AgentError | None) -> None:
        pipeline = self.agent.pipelines[0]
        c, outbox = pipeline.counters, pipeline.ways[0].outbox
        assert isinstance(outbox, MemoryOutbox)
        seconds = round(time.monotonic() - self._begin, 1)
        left = self.store.left()
        looked, bad = self._looked()
        data = {
            "seconds": seconds,
            "frames": c.frames,
            "frame_bytes": c.frame_bytes,
            "lost_frames": c.lost_frames,
            "analysed": c.analysed,
            "undecodable": c.undecodable,
            "damaged": bad,
            "events": c.events,
            "clips": c.clips,
            "bytes": c.clip_bytes,
            "stored_items": outbox.acked_items,
            "dropped_items": outbox.dropped_items,
            "kept": str(self.store.path) if self.store.keep else None,
            "deleted": not left,
        } | ({"error": str(trouble)} if trouble else {})
        self.console.event("watch.ended", self.camera, data, time.time_ns())
        if bad:
            self.console.damaged(c, looked, bad)
        if trouble is None or c.frames:
            place, keep = str(self.store.path) if left else None, self.store.keep
            self.console.goodbye(seconds, c, self._links, place, keep, self.options.source)
