"""Lingering close: a refused client reads its answer before the connection goes (RFC 9112 9.6)."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from agent.dispatch.limits import Limits

_READ_BYTES = 16384


class Lingering:
    """Sends an answer, then reads and drops what still comes, for a short time and few bytes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self._loop = loop
        self.limits = limits
        self._left: dict[socket.socket, tuple[int, asyncio.TimerHandle]] = {}

    def farewell(self, sock: socket.socket, answer: bytes, sent: bool = False) -> None:
        """Takes the socket over; with nothing said (`answer` or, before, `sent`) it is closed at once."""
        worth = bool(answer) or sent
        try:
            if answer:
                sock.send(answer)
            if worth:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            worth = False
        if not worth or len(self._left) >= self.limits.lingering:
            sock.close()
            return
        timer = self._loop.call_later(self.limits.linger_s, self._end, sock)
        self._left[sock] = (self.limits.linger_bytes, timer)
        self._loop.add_reader(sock.fileno(), self._drop, sock)

    def close(self) -> None:
        for sock in list(self._left):
            self._end(sock)

    def _drop(self, sock: socket.socket) -> None:
        left, timer = self._left[sock]
        got = b""
        with contextlib.suppress(BlockingIOError):
            try:
                got = sock.recv(_READ_BYTES)
            except ConnectionError:
                pass
            left -= len(got)
            if not got or left <= 0:
                return self._end(sock)
        self._left[sock] = (left, timer)

    def _end(self, sock: socket.socket) -> None:
        _, timer = self._left.pop(sock)
        timer.cancel()
        self._loop.remove_reader(sock.fileno())
        sock.close()
