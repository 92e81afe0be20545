"""A film file (or a folder of JPEGs) as a camera, at its own pace; H.264 and H.265 pass where PyAV is installed."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from dataclasses import dataclass
from typing import Annotated, Self
from urllib.parse import unquote, urlsplit

from agent.clock import SystemClock
from agent.errors import AgentError, PermanentError, UsageError
from agent.frame import Codec, Frame
from agent.media.footage import CodedFootage, Footage, Reel, open_footage
from agent.media.jpeg import SizeWatch
from agent.schema import above, at_most
from agent.sources import Publish
from agent.sources.device import Device, capture

LATE_S = 1.0
STALL_S = 30.0


@dataclass(frozen=True, slots=True)
class FileSource:
    """Plays `path` once, or again and again with `loop: true`; `fps` replaces the film's own pace."""

    path: str
    loop: bool = False
    fps: Annotated[float, above(0), at_most(240)] | None = None

    @classmethod
    def from_url(cls, text: str) -> Self:
        """A path, or `file:///path`; raises UsageError (exit 66) where there is no film."""
        source = cls(unquote(urlsplit(text).path) if text.lower().startswith("file://") else text)
        open_footage(source.path)
        return source

    @property
    def label(self) -> str:
        return self.path

    async def run(self, publish: Publish) -> None:
        try:
            footage = await asyncio.to_thread(open_footage, self.path, self.fps)
            if isinstance(footage, CodedFootage) and await asyncio.to_thread(self._passes):
                await capture(self.path, self._open, publish, STALL_S)
            else:
                await self._play(footage, publish)
        except UsageError as e:
            raise PermanentError(str(e), e.exit_code) from None
        except OSError as e:
            raise PermanentError(f"{self.path}: {(e.strerror or str(e)).lower()}", 66) from None

    def _open(self) -> Device:
        from agent.sources.packets import Packets, Place

        options = {"protocol_whitelist": "file,crypto,data"}
        return Packets(Place(os.path.abspath(self.path), options, paced=True, loop=self.loop, fps=self.fps))

    def _passes(self) -> bool:
        """Whether the film's own pictures can be given; those of other codecs are coded anew."""
        if importlib.util.find_spec("av") is None:
            return False
        try:
            self._open().close()
        except AgentError:
            return False
        return True

    async def _play(self, footage: Footage, publish: Publish) -> None:
        clock, now = SystemClock(), asyncio.get_running_loop().time
        due, index, reel, size = now(), 0, Reel(footage), SizeWatch()
        try:
            while True:
                data = await reel.next()
                await asyncio.sleep(due - now())
                if data is not None:
                    index = 0 if size.changed(data) else index
                    publish(Frame(Codec.JPEG, data, True, clock.monotonic_ns(), clock.wall_ns(), index))
                    index += 1
                    due = max(due + 1.0 / footage.fps, now() - LATE_S)
                elif self.loop:
                    reel.rewind()
                else:
                    return
        finally:
            await reel.close()
