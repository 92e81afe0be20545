"""Agents that come by single requests: there, as long as they ask now and then."""

from __future__ import annotations

from functools import partial

from agent.server.cameras import Camera, Cameras
from agent.server.ingest.later import Later

LINGER_S = 75.0


class Presence:
    """Turns requests into a session of the camera, which ends after a time without any."""

    def __init__(self, cameras: Cameras) -> None:
        self._cameras = cameras
        self._there: dict[Camera, Later] = {}

    def touch(self, camera: Camera) -> None:
        """A request of this camera's agent came."""
        leaving = self._there.get(camera)
        if leaving is None:
            self._cameras.came(camera)
            leaving = self._there[camera] = Later(partial(self._end, camera))
        leaving.put_off(LINGER_S)

    def _end(self, camera: Camera) -> None:
        del self._there[camera]
        self._cameras.went(camera)

    def close(self) -> None:
        for camera, leaving in list(self._there.items()):
            leaving.cancel()
            self._end(camera)
