"""What happens on the server, told to those who listen: bounded, never waited for."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from agent import cloudevents
from agent.clock import Clock, SystemClock

DEPTH = 100
DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Told:
    """One piece of news; `body` is its CloudEvent, the same for all who listen. `last`: of a deleted camera."""

    kind: str
    camera: str
    body: str
    last: bool = False


class Listener:
    """The news for one reader; when it is too slow the oldest go, and `missed` says that some did."""

    def __init__(self, news: News) -> None:
        self._news = news
        self._waiting: deque[Told | None] = deque(maxlen=DEPTH)
        self._ready = asyncio.Event()
        self.missed = 0

    def tell(self, what: Told | None) -> None:
        self.missed += len(self._waiting) == DEPTH
        self._waiting.append(what)
        self._ready.set()

    async def get(self) -> Told | None:
        """The next piece of news; None when there will be no more."""
        while not self._waiting:
            self._ready.clear()
            await self._ready.wait()
        return self._waiting.popleft()

    def __enter__(self) -> Self:
        self._news.listeners.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._news.listeners.discard(self)


class News:
    """Kinds: `event` (opened, grew, closed, deleted) and `camera` (came, went, changed, deleted)."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.listeners: set[Listener] = set()
        self._clock = clock or SystemClock()

    def listen(self) -> Listener:
        return Listener(self)

    def tell(self, kind: str, what: dict[str, Any]) -> None:
        """`what` is the event's or the camera's record, as the API has it."""
        if not self.listeners:
            return
        camera = str(what["camera" if kind == "event" else "name"])
        deleted = what.get("state") == DELETED
        type_ = f"{kind}.{DELETED if deleted else 'changed'}"
        body = cloudevents.event(type_, camera, what, wall_ns=self._clock.wall_ns())
        for listener in self.listeners:
            listener.tell(Told(kind, camera, body, deleted and kind == "camera"))

    def close(self) -> None:
        """Tell all listeners that there is no more."""
        for listener in self.listeners:
            listener.tell(None)
