"""Fan-out of live frames to bounded subscriptions; publishing never waits, readers lose."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Protocol, Self

from agent.frame import Frame


class Reader(Protocol):
    """Somebody who wants live frames; `offer` never waits."""

    def offer(self, frame: Frame) -> None: ...


class Subscription:
    """The newest frames for one reader: at most `depth`; older ones are dropped and counted.

    Use as a context manager and async iterator. H.264 readers resume at a keyframe after a drop.
    """

    def __init__(self, hub: "Hub", depth: int = 1) -> None:
        self._hub = hub
        self._frames: deque[Frame] = deque()
        self._depth = depth
        self._ready = asyncio.Event()
        self._want_key = False
        self.dropped = 0

    def offer(self, frame: Frame) -> None:
        if self._want_key and not frame.keyframe:
            self.dropped += 1
            return
        self._want_key = False
        if len(self._frames) >= self._depth:
            self.dropped += 1
            self._frames.popleft()
            if not frame.keyframe:
                self.dropped += len(self._frames) + 1
                self._frames.clear()
                self._want_key = True
                return
        self._frames.append(frame)
        self._ready.set()

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
    """One camera's live frames. `latest` is the last keyframe seen, for a first picture at once."""

    def __init__(self) -> None:
        self._readers: set[Reader] = set()
        self.latest: Frame | None = None
        self.changed = asyncio.Event()

    @property
    def readers(self) -> int:
        return len(self._readers)

    def publish(self, frame: Frame) -> None:
        if frame.keyframe:
            self.latest = frame
        for reader in self._readers:
            reader.offer(frame)

    def subscribe(self, depth: int = 1) -> Subscription:
        return Subscription(self, depth)

    def add(self, reader: Reader) -> None:
        self._readers.add(reader)
        self.changed.set()

    def discard(self, reader: Reader) -> None:
        self._readers.discard(reader)
        self.changed.set()
