"""Agents that come by single requests: there, as long as they ask now and then."""

from __future__ import annotations

import asyncio

from agent.server.cameras import Camera, Cameras

LINGER_S = 75.0


class Presence:
    """Turns requests into a session of the camera, which ends after a time without any."""

    def __init__(self, cameras: Cameras) -> None:
        self._cameras = cameras
        self._timers: dict[Camera, asyncio.TimerHandle] = {}

    def touch(self, camera: Camera) -> None:
        """A request of this camera's agent came."""
        loop = asyncio.get_running_loop()
        if timer := self._timers.pop(camera, None):
            timer.cancel()
        else:
            self._cameras.came(camera)
        self._timers[camera] = loop.call_later(LINGER_S, self._end, camera)

    def _end(self, camera: Camera) -> None:
        del self._timers[camera]
        self._cameras.went(camera)

    def close(self) -> None:
        for camera, timer in list(self._timers.items()):
            timer.cancel()
            self._end(camera)
