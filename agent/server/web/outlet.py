"""Live pictures written straight into a connection: one write for each viewer and frame, and never two waiting."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from agent.frame import Codec, Frame

LOOK_S = 0.02
STUCK_S = 30.0
UNSENT_BYTES = 256 * 1024
INTERVAL_S = 0.095  # ten a second, and a camera that is a little fast does not fall behind


class Outlet:
    """A hub's reader. `pack` gives a frame's bytes on the wire; who cannot take one yet misses the older.

    `ended` is set when the connection is lost, or has taken nothing for 30 s. JPEG only: every picture can be
    left out.
    """

    def __init__(self, transport: asyncio.Transport, pack: Callable[[Frame], bytes]) -> None:
        self._transport = transport
        self._pack = pack
        self._loop = asyncio.get_running_loop()
        self._late: Frame | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._moved_s = self._loop.time()
        self._due_s = 0.0
        self.ended = asyncio.Event()
        self.sent = 0
        self.dropped = 0
        if (sock := transport.get_extra_info("socket")) is not None:
            with contextlib.suppress(OSError, AttributeError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)

    def offer(self, frame: Frame) -> None:
        if frame.codec is not Codec.JPEG:
            return
        now_s = self._loop.time()
        if self._transport.is_closing():
            self.ended.set()
        elif now_s >= self._due_s and self._transport.get_write_buffer_size() == 0:
            self._send(frame, now_s)
        else:
            self.dropped += self._late is not None
            self._late = frame
            if self._timer is None:
                self._timer = self._loop.call_later(max(LOOK_S, self._due_s - now_s), self._again)

    def _send(self, frame: Frame, now_s: float) -> None:
        self._late = None
        self._transport.write(self._pack(frame))
        self.sent += 1
        self._moved_s = now_s
        self._due_s = max(self._due_s, now_s - INTERVAL_S) + INTERVAL_S

    def _again(self) -> None:
        self._timer = None
        if self._late is None:
            return
        if self._loop.time() - self._moved_s > STUCK_S:
            self._transport.abort()
            self.ended.set()
        else:
            late, self._late = self._late, None
            self.offer(late)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
