"""Composition root of the device agent: from a configuration to running cameras."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from agent import __version__, config, remote, sinks, sources, status
from agent.armed import Armed
from agent.config import REQUIRED, Field, LogSettings
from agent.control import Control
from agent.errors import ConfigError, UsageError
from agent.frame import Decision, Frame
from agent.memory import give_back, trim
from agent.motion import MotionSettings
from agent.pipeline import Observer, Pipeline, way_keys
from agent.privacy import Painted, PrivacySettings
from agent.pulse import Pulse
from agent.recorder import EventSettings
from agent.schema import at_least, at_most
from agent.spool.settings import SpoolSettings
from agent.systemd import Notifier

if TYPE_CHECKING:
    from agent.server.app import CameraServer
    from agent.spool.store import Spool

log = logging.getLogger(__name__)

READY_S = 10.0
TRIM_S = 60.0  # what is given back to the system is asked of it again, page by page
GONE_S = 5.0  # how often a disposable agent looks whether its camera still exists: each look wakes the process
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """One camera of the agent."""

    name: str
    source: sources.Source
    motion: MotionSettings = field(default_factory=MotionSettings)
    events: EventSettings = field(default_factory=EventSettings)
    privacy: PrivacySettings = field(default_factory=PrivacySettings)

    def way_in(self) -> sources.Source:
        """The source, behind the privacy masks where there are any."""
        return Painted(self.source, self.privacy) if self.privacy.masks else self.source


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """What one agent process does. `server` is the embedded camera server's settings, None for none.

    `spool` None keeps what waits in memory only. A `disposable` one ends when the other end deleted its cameras.
    """

    cameras: tuple[CameraConfig, ...]
    sinks: tuple[sinks.Sink, ...] = ()
    server: Any = None
    spool: SpoolSettings | None = None
    outbox_mib: int = 32
    log_level: str = "info"
    disposable: bool = False


@dataclass(frozen=True, slots=True)
class _Lazy:
    """A class that is imported only when a file names its section."""

    module: str
    name: str

    def load(self) -> type[Any]:
        cls: type[Any] = getattr(importlib.import_module(self.module), self.name)
        return cls


def fields() -> Mapping[str, Field]:
    """The keys of an agent's file."""
    camera = {
        "source": Field(kinds=sources.KINDS, default=REQUIRED),
        "motion": Field(cls=MotionSettings, default=MotionSettings()),
        "events": Field(cls=EventSettings, default=EventSettings()),
        "privacy": Field(cls=PrivacySettings, default=PrivacySettings()),
    }
    return {
        "cameras": Field(fields=camera, many="map", default=REQUIRED),
        "sinks": Field(kinds=sinks.KINDS, many="list", default=()),
        "server": Field(lazy=_Lazy("agent.server.app", "ServerSettings")),
        "spool": Field(cls=SpoolSettings, default=SpoolSettings()),
        "outbox_mib": Field(cls=Annotated[int, at_least(1), at_most(4096)], default=32),
        "log": Field(cls=LogSettings, default=LogSettings()),
    }


def load(path: Path) -> AgentConfig:
    """The agent's configuration from a YAML file; raises ConfigError with all problems at once."""
    values = config.read_file(path, fields(), _check)
    cameras = tuple(CameraConfig(name, **fields) for name, fields in values["cameras"].items())
    return AgentConfig(
        cameras,
        tuple(values["sinks"]),
        values["server"],
        values["spool"],
        values["outbox_mib"],
        values["log"].level,
    )


def _check(values: dict[str, Any], complain: config.Complain) -> None:
    if not values["cameras"]:
        complain("cameras", "names no camera")
    if not values["sinks"] and values["server"] is None:
        complain("", "nowhere to send to: give 'sinks' or an embedded 'server'")


def quick(source: str, to: str, name: str = "camera") -> AgentConfig:
    """The configuration of `run --source URL --to URL`; raises UsageError."""
    if not config.NAME.fullmatch(name):
        raise UsageError(f"--name '{name}' is no name (a-z, 0-9 and -, at most 63)")
    try:
        sink = sinks.from_url(to)
    except ConfigError as e:
        raise UsageError(f"--to: {e}") from None
    return AgentConfig(
        (CameraConfig(name, sources.from_text(source)),), (sink,), spool=SpoolSettings(), disposable=True
    )


class Analyser:
    """Decodes and judges frames; imports the picture libraries with the first one."""

    def __init__(self, settings: MotionSettings) -> None:
        self._settings = settings
        self._judge: Callable[[Frame], Decision] | None = None
        self._last = Decision(False)

    def __call__(self, frame: Frame) -> Decision:
        if self._judge is None:
            self._judge = self._make()
        return self._judge(frame)

    def _make(self) -> Callable[[Frame], Decision]:
        from agent import motion
        from agent.motion.eye import Eye

        detector, eye = motion.create(self._settings), Eye()

        def judge(frame: Frame) -> Decision:
            plane = eye.see(frame)
            if plane is None:
                return self._last  # what was not looked at inherits, as frames between two looks do
            last, self._last = self._last, detector.update(plane, frame.pts_ns / 1e9)
            begins = self._last.moving and not last.moving
            return replace(self._last, still=eye.still()) if begins else self._last

        return judge


@dataclass(slots=True)
class Agent:
    """All cameras of one configuration, the embedded server if there is one, and systemd's notifier."""

    config: AgentConfig
    observer: Observer | None = None
    server: CameraServer | None = None
    notifier: Notifier = field(default_factory=Notifier)
    pipelines: list[Pipeline] = field(default_factory=list)
    control: Control = field(default_factory=Control)

    def __post_init__(self) -> None:
        if self.config.server is not None and self.server is None:
            from agent.server.app import CameraServer

            self.server = CameraServer(self.config.server)
        self.control.add("status", self._tell)
        for camera in self.config.cameras:
            ways = list(self.config.sinks)
            if self.server is not None:
                ways.append(self.server.local_sink())
            self.pipelines.append(
                Pipeline(
                    camera.name,
                    camera.way_in(),
                    ways,
                    analyse=Analyser(camera.motion) if camera.motion.enabled else None,
                    analyses_per_s=camera.motion.analyses_per_s,
                    schedule=camera.motion.when(),
                    events=camera.events,
                    memory_bytes=self.config.outbox_mib * MIB,
                    spool=self._spool(camera.name, way_keys(ways)),
                    observer=self.observer,
                )
            )
            spool = self.config.spool
            memory = Armed(spool.root / camera.name if spool else None)
            self.pipelines[-1].arm(memory.read())
            self.pipelines[-1].commands.update(remote.commands(self.pipelines[-1], memory))

    def _spool(self, camera: str, sinks: list[str]) -> Spool | None:
        if self.config.spool is None:
            return None
        return self.config.spool.open(camera, sinks, len(self.config.cameras), self.config.outbox_mib * MIB)

    async def start_server(self) -> list[str]:
        """Start the embedded server, if there is one, with this agent's cameras; returns its URLs."""
        if self.server is None:
            return []
        urls = await self.server.start()
        for pipeline in self.pipelines:
            await self.server.add_camera(pipeline.name)
        return urls

    async def run(self, until: asyncio.Event) -> None:
        """Run all cameras until `until` is set, or every source has come to its end."""
        await self.control.start()
        for p in self.pipelines:
            log.info("%s: %s → %s", p.name, p.source.label, ", ".join(w.sink.label for w in p.ways) or "nowhere")
        cameras = [asyncio.create_task(p.run(), name=p.name) for p in self.pipelines]
        minder = asyncio.create_task(self._mind())
        ending = asyncio.create_task(self._over(until))
        failing = [asyncio.create_task(self.server.failure())] if self.server else []
        try:
            pending: set[asyncio.Task[Any]] = {*cameras, minder, ending, *failing}
            while ending in pending and any(c in pending for c in cameras):
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            self.notifier.stopping()
            await asyncio.gather(*(p.stop() for p in self.pipelines))
            for task in (*cameras, minder, ending, *failing):
                task.cancel()
            await asyncio.gather(*cameras, minder, ending, *failing, return_exceptions=True)

    async def close(self) -> None:
        """What waits stays in the spools."""
        await self.control.close()
        await asyncio.gather(*(p.spool.close() for p in self.pipelines))
        if self.server is not None:
            await self.server.close()

    async def _over(self, until: asyncio.Event) -> None:
        """Until it is told to end, or it is disposable and nobody wants its pictures any more."""
        if not self.config.disposable:
            await until.wait()
        while not until.is_set():
            ways = [w for p in self.pipelines for w in p.ways]
            if ways and all(w.health.gone for w in ways):
                log.info("the camera was deleted or has ended at the other end; what waits stays in the spool")
                return
            try:
                async with asyncio.timeout(GONE_S):
                    await until.wait()
            except TimeoutError:
                pass

    def waiting(self) -> list[str]:
        """A line for each sink that has not got everything."""
        lines = []
        for p in self.pipelines:
            for way in p.ways:
                if n := way.outbox.backlog().waiting_items:
                    lines.append(f"{p.name}: {n} items wait for {way.sink.label}")
        return lines

    async def _mind(self) -> None:
        """Tell systemd READY and STATUS; feed its watchdog while every camera and sink shows life."""
        waits = [asyncio.create_task(p.started.wait()) for p in self.pipelines]
        await asyncio.wait(waits, timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        self.notifier.ready()
        give_back()
        period = self.notifier.watchdog_s or 10.0
        pulse = Pulse(self.pipelines, {c.name: sources.silence_s(c.source) for c in self.config.cameras})
        trimmed_s = time.monotonic()
        while True:
            now_s = time.monotonic()
            if now_s - trimmed_s >= TRIM_S:
                trim()
                trimmed_s = now_s
            self.notifier.status(self.status())
            if pulse.beats(now_s):
                self.notifier.watchdog()
            await asyncio.sleep(min(period, 10.0))

    def _tell(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "version": __version__,
            "pid": os.getpid(),
            "server": self.server.urls()[0] if self.server is not None and self.server.port else None,
            "cameras": [status.camera(p) for p in self.pipelines],
        }

    def status(self) -> str:
        """One line: each camera's rate, or what is missing."""
        return "; ".join(_say(p) for p in self.pipelines)


def _say(p: Pipeline) -> str:
    away = [w.sink.label for w in p.ways if not w.health.up]
    if p.ended.is_set():
        text = f"{p.name}: ended"
    elif p.health.up:
        text = f"{p.name}: {p.fps:.1f} fps, {p.counters.events} events"
    else:
        text = f"{p.name}: {p.health.error or 'waiting for the first picture'}"
    return text + (f", not connected: {', '.join(away)}" if away else "")
