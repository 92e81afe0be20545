"""Live pictures written straight into a connection: one write for each viewer and frame, and never two waiting."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Protocol

from agent.frame import Codec, Frame

LOOK_S = 0.02
STUCK_S = 30.0
UNSENT_BYTES = 256 * 1024
INTERVAL_NS = 95_000_000  # ten a second, and a camera that is a little fast does not fall behind


class Packed(Protocol):
    """A frame's bytes on the wire, made once for all viewers of a form: those of `frame` are `data`."""

    frame: Frame | None
    data: bytes

    def make(self, frame: Frame) -> bytes: ...


class Outlet:
    """A hub's reader. `packed` has a frame's bytes on the wire; who cannot take one yet misses the older.

    `ended` is called when the connection is lost, or has taken nothing for 30 s. JPEG only: every picture can be
    left out. `offer` runs for each viewer and picture: what it does, it does two thousand times a second.
    """

    def __init__(self, transport: asyncio.Transport, packed: Packed, ended: Callable[[], None]) -> None:
        self._transport = transport
        self._packed = packed
        self._write, self._waiting = transport.write, transport.get_write_buffer_size
        self.gone = transport.is_closing
        self._loop = asyncio.get_running_loop()
        self._late: Frame | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due_ns = 0
        self._tried_s = 0.0
        self._ended = ended
        self.dropped = 0
        if (sock := transport.get_extra_info("socket")) is not None:
            with contextlib.suppress(OSError, AttributeError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)

    def offer(self, frame: Frame) -> None:
        at_ns = frame.pts_ns
        if self._late is not None or at_ns < self._due_ns or self._waiting() or self.gone():
            self._wait(frame)
        elif frame.codec is Codec.JPEG:
            packed = self._packed
            self._write(packed.data if packed.frame is frame else packed.make(frame))
            due_ns, least_ns = self._due_ns, at_ns - INTERVAL_NS
            self._due_ns = (due_ns if due_ns > least_ns else least_ns) + INTERVAL_NS

    def _wait(self, frame: Frame) -> None:
        """The newest picture goes when the connection takes one again."""
        if self.gone():
            self._ended()
            return
        if self._late is None:
            self._tried_s = self._loop.time()
            early_s = (self._due_ns - frame.pts_ns) / 1e9
            self._timer = self._loop.call_later(min(max(LOOK_S, early_s), 1.0), self._again)
        self.dropped += self._late is not None
        self._late = frame

    def _again(self) -> None:
        if self._waiting() and self._loop.time() - self._tried_s < STUCK_S and not self.gone():
            self._timer = self._loop.call_later(LOOK_S, self._again)
        elif self._waiting():
            self._transport.abort()
            self._ended()
        elif (late := self._late) is not None and not self.gone():
            self._late = None
            if late.codec is Codec.JPEG:
                self._write(self._packed.make(late) if self._packed.frame is not late else self._packed.data)
            self._due_ns = max(self._due_ns, late.pts_ns) + INTERVAL_NS

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
