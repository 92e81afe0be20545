"""Agents that come by single requests: there, as long as they ask now and then."""

from __future__ import annotations

from functools import partial

from agent.server.cameras import Camera, Cameras, Close
from agent.server.ingest.later import Later

LINGER_S = 75.0


class Presence:
    """Turns requests into a session of the camera, which ends after a time without any, or as its other sessions do."""

    def __init__(self, cameras: Cameras) -> None:
        self._cameras = cameras
        self._there: dict[Camera, tuple[Later, Close]] = {}

    def touch(self, camera: Camera) -> None:
        """A request of this camera's agent came."""
        if camera.gone:
            return
        if camera not in self._there:
            end = partial(self._end, camera)
            self._there[camera] = Later(end), end
            self._cameras.came(camera, end)
        self._there[camera][0].put_off(LINGER_S)

    def _end(self, camera: Camera, *_: object) -> None:
        """Its time is over, or (with a code and a reason) the camera's."""
        leaving, end = self._there.pop(camera)
        leaving.cancel()
        self._cameras.went(camera, end)

    def close(self) -> None:
        for camera in list(self._there):
            self._end(camera)
