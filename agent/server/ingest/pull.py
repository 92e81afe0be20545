"""The way in for cameras that the server fetches by itself: the agent's sources, without an agent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from agent.clock import Clock
from agent.errors import AgentError, PermanentError, UsageError
from agent.frame import Codec, Frame
from agent.server.camera import Camera
from agent.server.cameras import Cameras
from agent.server.index import UnavailableError
from agent.server.ingest.desk import Desk
from agent.supervise import RETURNED, Health, supervise

log = logging.getLogger(__name__)

NOTE_S = 5.0  # a camera that comes and goes is not written down each time
NETWORK = ("mjpeg", "dcs920", "ipcam")


def source_of(url: str) -> Any:
    """The source of a camera on the network. Raises UsageError for files, devices and words of no meaning."""
    from agent import sources

    scheme = url.partition("://")[0].lower()
    if "://" not in url or not any(scheme in sources.KINDS[kind].schemes for kind in NETWORK):
        raise UsageError("pull: expected the address of a camera on the network, http://… or dcs920://…")
    return sources.from_text(url)


class Puller:
    """One task for each camera that has an address to be fetched from."""

    def __init__(self, cameras: Cameras, desk: Desk, clock: Clock) -> None:
        self._cameras = cameras
        self._desk = desk
        self._clock = clock
        self._tasks: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._notes: set[asyncio.Task[None]] = set()

    def mind(self, camera: Camera) -> None:
        """Start, change or end what is fetched, as the camera's settings say now."""
        there = self._cameras.get(camera.name) is camera and not camera.ended(self._clock.wall_ns())
        url = camera.settings.pull if there else None
        known = self._tasks.get(camera.name)
        if known is not None and known[0] == url:
            return
        if known is not None:
            known[1].cancel()
            del self._tasks[camera.name]
        if url is not None:
            self._tasks[camera.name] = (url, asyncio.get_running_loop().create_task(self._pull(camera, url)))

    async def _pull(self, camera: Camera, url: str) -> None:
        pictures, health, up = self._desk.of(camera), Health(), False
        noted_s = -NOTE_S

        def publish(frame: Frame) -> None:
            nonlocal up
            if frame.codec is not Codec.JPEG:
                raise PermanentError("only cameras that send JPEGs can be pulled")
            if not up:
                up = True
                self._cameras.came(camera)
                self._note(camera, "")
            health.worked(camera.name, self._clock)
            pictures.stream(frame.data, frame.index == 0)

        async def run() -> None:
            nonlocal up, noted_s
            error = ""
            try:
                await source_of(url).run(publish)
                error = RETURNED
            except AgentError as e:
                error = str(e)
                raise
            finally:
                if error and (now_s := asyncio.get_running_loop().time()) - noted_s >= NOTE_S:
                    noted_s = now_s
                    self._note(camera, error)
                if up:
                    up = False
                    self._cameras.went(camera)
                    pictures.end_run()

        with contextlib.suppress(asyncio.CancelledError):
            await supervise(camera.name, run, health, clock=self._clock, eager=True)

    def _note(self, camera: Camera, error: str) -> None:
        self._notes.add(task := asyncio.create_task(self._noted(camera, error)))
        task.add_done_callback(self._notes.discard)

    async def _noted(self, camera: Camera, error: str) -> None:
        try:
            await self._cameras.note_pull(camera, error)
        except (OSError, UnavailableError) as e:
            log.debug("%s: why it cannot be fetched is not noted: %s", camera.name, e)

    async def close(self) -> None:
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._notes, return_exceptions=True)
        self._tasks.clear()
