"""The event loop of every command: what hangs in one of its threads does not keep the program from ending."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, TypeVar, TypeVarTuple

from agent.threads import Threads

T = TypeVar("T")
Args = TypeVarTuple("Args")
MOST = 32
LEAVE_S = 1.0
Question = tuple[Any, ...]


class Loop(asyncio.SelectorEventLoop):
    """Threads of its own for `to_thread`, and one for each name that is looked up.

    Without a name server that answers a look-up takes ten seconds and more, and nothing ends it. Whoever asks the same
    meanwhile waits for the same one: there are at most as many as names, and they take no thread from anything else.
    """

    def __init__(self) -> None:
        super().__init__()
        self._threads = Threads(MOST, "worker")
        self._lookups: dict[Question, asyncio.Future[Any]] = {}

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Args], T], *args: *Args) -> asyncio.Future[T]:
        return super().run_in_executor(executor or self._threads, func, *args)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """A library in C++ that is at work when the interpreter goes takes the process down with it: it may finish."""
        self._threads.leave(LEAVE_S)

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        question = (host, port, family, type, proto, flags)
        if question not in self._lookups:
            self._lookups[question] = self.create_future()
            threading.Thread(target=self._look_up, args=(question,), name="look-up", daemon=True).start()
        return await asyncio.shield(self._lookups[question])

    def _look_up(self, question: Question) -> None:
        found: Any = None
        error: Exception | None = None
        try:
            found = socket.getaddrinfo(*question)
        except Exception as e:
            error = e
        with suppress(RuntimeError):  # the loop has ended
            self.call_soon_threadsafe(self._answer, question, found, error)

    def _answer(self, question: Question, found: Any, error: Exception | None) -> None:
        future = self._lookups.pop(question)
        if error is None:
            future.set_result(found)
        else:
            future.set_exception(error)
            future.exception()  # who asked may have gone
