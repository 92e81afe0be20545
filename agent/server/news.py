"""What happens on the server, told to those who listen: bounded, never waited for."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Any, Self

DEPTH = 100


class Listener:
    """The news for one reader; when it is too slow the oldest go, and `missed` says that some did."""

    def __init__(self, news: News) -> None:
        self._news = news
        self._waiting: deque[tuple[str, dict[str, Any]]] = deque(maxlen=DEPTH)
        self._ready = asyncio.Event()
        self.missed = 0

    def tell(self, kind: str, what: dict[str, Any]) -> None:
        self.missed += len(self._waiting) == DEPTH
        self._waiting.append((kind, what))
        self._ready.set()

    async def get(self) -> tuple[str, dict[str, Any]]:
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
    """Kinds: `event` (opened, grew, closed) and `camera` (came, went)."""

    def __init__(self) -> None:
        self.listeners: set[Listener] = set()

    def listen(self) -> Listener:
        return Listener(self)

    def tell(self, kind: str, what: dict[str, Any]) -> None:
        for listener in self.listeners:
            listener.tell(kind, what)
