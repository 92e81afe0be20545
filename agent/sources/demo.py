"""The built-in demo scene as a camera: something comes by a few times a minute."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from agent.clock import SystemClock
from agent.errors import UsageError
from agent.frame import Codec, Frame
from agent.sources import Publish

if TYPE_CHECKING:
    from agent.sources.scene import Scene

FPS = 10
LATE_S = 1.0


@dataclass(frozen=True, slots=True)
class DemoSource:
    """640×480 at 10 pictures a second; needs no camera, no network and no file."""

    @classmethod
    def from_url(cls, text: str) -> Self:
        """`demo` or `demo://`; raises UsageError for anything behind it."""
        if text.lower() not in ("demo", "demo://"):
            raise UsageError("no such camera: expected 'demo' alone", 66)
        return cls()

    @property
    def label(self) -> str:
        return "demo"

    async def run(self, publish: Publish) -> None:
        """Plays until it is cancelled."""
        scene = await asyncio.to_thread(_scene)
        clock, now = SystemClock(), asyncio.get_running_loop().time
        due, index = now(), 0
        while True:
            data = scene.ready(index)
            if data is None:
                data = await asyncio.to_thread(scene.picture, index)
            await asyncio.sleep(due - now())
            publish(Frame(Codec.JPEG, data, True, clock.monotonic_ns(), clock.wall_ns(), index))
            index += 1
            due = max(due + 1.0 / FPS, now() - LATE_S)


def _scene() -> Scene:
    from agent.sources.scene import Scene

    return Scene(FPS)
