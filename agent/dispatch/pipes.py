"""Kernel pipes for os.splice, used again since making one costs more than a small answer."""

from __future__ import annotations

import contextlib
import fcntl
import os

PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031


class Pipes:
    """A bounded stock of empty pipes. `get` gives None when there may be no more: copy instead."""

    def __init__(self, most: int = 64, idle: int = 8) -> None:
        self._most = most
        self._idle = idle
        self._stock: list[tuple[int, int]] = []
        self.out = 0

    def get(self) -> tuple[int, int] | None:
        if not hasattr(os, "splice") or self.out >= self._most:
            return None
        if not self._stock:
            try:
                pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                return None
            with contextlib.suppress(OSError):
                fcntl.fcntl(pipe[1], _F_SETPIPE_SZ, PIPE_BYTES)
            self._stock.append(pipe)
        self.out += 1
        return self._stock.pop()

    def put(self, pipe: tuple[int, int], empty: bool) -> None:
        """Back into the stock, unless bytes are stuck in it."""
        self.out -= 1
        if empty and len(self._stock) < self._idle:
            self._stock.append(pipe)
        else:
            _close(pipe)

    def close(self) -> None:
        while self._stock:
            _close(self._stock.pop())


def _close(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    os.close(pipe[1])
