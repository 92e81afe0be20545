"""Threads for calls that may hang: the program ends without them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Threads(Executor):
    """Up to `most` of them, begun as they are needed.

    Those of `ThreadPoolExecutor` are waited for at the program's end, whatever a server or a driver keeps them in.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._given: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._undone: set[Future[Any]] = set()
        self._count = 0

    def submit(self, work: Callable[..., T], /, *args: Any, **more: Any) -> Future[T]:
        future: Future[T] = Future()
        self._given.put(partial(self._do, future, work, args, more))
        with self._lock:
            self._undone.add(future)
            if self._count < min(len(self._undone), self._most):
                self._count += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return future

    def _work(self) -> None:
        while (do := self._given.get()) is not None:
            do()
            del do  # while nothing is given, nothing is held

    def _do(self, future: Future[Any], work: Callable[..., Any], args: Any, more: Any) -> None:
        try:
            if future.set_running_or_notify_cancel():
                _settle(future, work, args, more)
        finally:
            with self._lock:
                self._undone.discard(future)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """They end when they have done what was given; nobody waits for that."""
        for _ in range(self._count):
            self._given.put(None)

    def leave(self, within_s: float) -> None:
        """Wait so long for what is under way; what takes longer is left behind."""
        self.shutdown()
        with self._lock:
            undone = set(self._undone)
        wait(undone, within_s)


def _settle(future: Future[Any], work: Callable[..., Any], args: Any, more: Any) -> None:
    try:
        future.set_result(work(*args, **more))
    except BaseException as e:
        future.set_exception(e)
        del future  # the exception's traceback holds this frame
