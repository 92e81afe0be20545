"""Fan-out of live frames to bounded subscriptions; publishing never waits, readers lose."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Protocol, Self

from agent.frame import Codec, Frame

LEANING_DEPTH = 128
"""Frames that wait for a reader of H.264 or H.265, where one that is dropped takes all up to the next keyframe."""
MAX_GROUP_FRAMES = 2000
MAX_GROUP_BYTES = 16 * 1024 * 1024


class Reader(Protocol):
    """Somebody who wants live frames; `offer` never waits."""

    def offer(self, frame: Frame) -> None: ...


class Subscription:
    """The newest frames for one reader: at most `depth`; older ones are dropped and counted.

    Use as a context manager and async iterator. Of JPEGs the newest win. H.264 and H.265 come in order, from a
    keyframe on; a reader that is late loses what waits and resumes at the next keyframe.
    """

    def __init__(self, hub: "Hub", depth: int = 1) -> None:
        self._hub = hub
        self._frames: deque[Frame] = deque()
        self._depth = depth
        self._ready = asyncio.Event()
        self._want_key = True
        self.dropped = 0

    def offer(self, frame: Frame) -> None:
        if self._want_key and not frame.keyframe:
            self.dropped += 1
            return
        self._want_key = False
        leans = frame.codec is not Codec.JPEG
        depth = max(self._depth, LEANING_DEPTH) if leans else self._depth
        if len(self._frames) >= depth and not self._make_room(frame, leans):
            return
        self._frames.append(frame)
        self._ready.set()

    def _make_room(self, frame: Frame, leans: bool) -> bool:
        """Drop what is old; False when `frame` cannot be used either."""
        if frame.keyframe and not leans:
            self.dropped += 1
            self._frames.popleft()
            return True
        self.dropped += len(self._frames) + (not frame.keyframe)
        self._frames.clear()
        self._want_key = not frame.keyframe
        return frame.keyframe

    def catch_up(self) -> None:
        """Begin with what the hub knows: the latest JPEG, or the keyframe of now and all that leans on it."""
        for frame in self._hub.group:
            self.offer(frame)

    async def get(self) -> Frame:
        """Wait for the next frame."""
        while not self._frames:
            self._ready.clear()
            await self._ready.wait()
        return self._frames.popleft()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Frame:
        return await self.get()

    def __enter__(self) -> Self:
        self._hub.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._hub.discard(self)


class Hub:
    """One camera's live frames.

    `latest` is the last keyframe seen, for a first picture at once; `newest` the last frame; `group` the last
    keyframe and what came since (empty when that grew too large to be kept, or has a gap).
    """

    def __init__(self) -> None:
        self._readers: dict[Reader, None] = {}  # in the order they came, which is that of memory
        self._group_bytes = 0
        self.group: list[Frame] = []
        self.latest: Frame | None = None
        self.newest: Frame | None = None
        self.changed = asyncio.Event()

    @property
    def readers(self) -> int:
        return len(self._readers)

    def publish(self, frame: Frame) -> None:
        self.newest = frame
        if frame.keyframe:
            self.latest = frame
            self.group = [frame]
            self._group_bytes = len(frame.data)
        elif self.group:
            self._extend(frame)
        for reader in self._readers:
            reader.offer(frame)

    def begin(self, frame: Frame) -> None:
        """A keyframe of before, for who comes while there is no other; nobody is told of it."""
        self.newest = self.latest = frame
        self.group = [frame]
        self._group_bytes = len(frame.data)

    def clear(self) -> None:
        """Keep no picture."""
        self.newest = self.latest = None
        self.group = []

    def _extend(self, frame: Frame) -> None:
        self._group_bytes += len(frame.data)
        fits = len(self.group) < MAX_GROUP_FRAMES and self._group_bytes <= MAX_GROUP_BYTES
        if fits and frame.index == self.group[-1].index + 1:
            self.group.append(frame)
        else:
            self.group = []

    def subscribe(self, depth: int = 1) -> Subscription:
        return Subscription(self, depth)

    def add(self, reader: Reader) -> None:
        self._readers[reader] = None
        self.changed.set()

    def discard(self, reader: Reader) -> None:
        self._readers.pop(reader, None)
        self.changed.set()
