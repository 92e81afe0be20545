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
LONGEST_S = 1.0
UNSENT_BYTES = 256 * 1024
ENDLESS = 1 << 62
JPEG = Codec.JPEG
INTERVAL_NS = 95_000_000  # ten a second, and a camera that is a little fast does not fall behind


def framed(data: bytes) -> bytes:
    """One unmasked binary message of a WebSocket (RFC 6455, 5.2)."""
    size = len(data)
    length = b"\x7e" + size.to_bytes(2, "big") if size < 65536 else b"\x7f" + size.to_bytes(8, "big")
    return b"\x82" + (bytes((size,)) if size < 126 else length) + data


class Packed(Protocol):
    """A frame's bytes on the wire, made once for all viewers of a form: those of `frame` are `data`."""

    frame: Frame | None
    data: bytes

    def make(self, frame: Frame) -> bytes: ...


class Outlet:
    """A hub's reader. `packed` has a frame's bytes on the wire; who cannot take one yet misses the older.

    `ended` is called when the connection is lost, or has taken nothing for 30 s. JPEG only: every picture can be
    left out; `other` is called when a frame comes that is none. `credits`: so many pictures may go.
    `offer` runs for each viewer and picture: what it does, it does two thousand times a second, and between two
    viewers the kernel has copied so much that nothing of the second is in the caches any more. What it looks at
    stands together, therefore, and there is as little of it as can be: slots, and no bound methods kept.
    """

    __slots__ = (
        "_due_ns",
        "_ended",
        "_late",
        "_loop",
        "_other",
        "_packed",
        "_timer",
        "_transport",
        "_tried_s",
        "credits",
        "dropped",
        "sent",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        packed: Packed,
        ended: Callable[[], None],
        other: Callable[[], None] = lambda: None,
        credit: int = ENDLESS,
    ) -> None:
        self._transport = transport
        self._packed = packed
        self._loop = asyncio.get_running_loop()
        self._late: Frame | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due_ns = 0
        self._tried_s = 0.0
        self._ended, self._other = ended, other
        self.credits = credit
        self.sent: Frame | None = None
        self.dropped = 0
        if (sock := transport.get_extra_info("socket")) is not None:
            with contextlib.suppress(OSError, AttributeError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)

    def gone(self) -> bool:
        """The connection is lost, or about to be closed."""
        return self._transport.is_closing()

    def offer(self, frame: Frame) -> None:
        at_ns, due_ns, transport = frame.pts_ns, self._due_ns, self._transport
        if (
            self._late is not None
            or at_ns < due_ns
            or not self.credits
            or transport.get_write_buffer_size()
            or transport.is_closing()
        ):
            self._wait(frame)
        elif frame.codec is JPEG:
            packed = self._packed
            transport.write(packed.data if packed.frame is frame else packed.make(frame))
            self.sent = frame
            self.credits -= 1
            least_ns = at_ns - INTERVAL_NS
            self._due_ns = (due_ns if due_ns > least_ns else least_ns) + INTERVAL_NS
        else:
            self._other()

    def grant(self, count: int, most: int) -> None:
        """So many pictures more, up to `most`; none: the credit ends."""
        self.credits = min(most, self.credits + count) if count else 0
        if (late := self._late) is None or self._timer is not None or not self.credits:
            return
        if late.pts_ns >= self._due_ns and not self._transport.get_write_buffer_size():
            self._again()
        else:
            self._look_later(late)

    def _wait(self, frame: Frame) -> None:
        """The newest picture goes when the connection takes one again."""
        if self.gone():
            self._ended()
        elif frame.codec is not JPEG:
            self._other()
        else:
            self.dropped += self._late is not None
            self._late = frame
            if self._timer is None and self.credits:
                self._look_later(frame)

    def _look_later(self, frame: Frame) -> None:
        self._tried_s = self._loop.time()
        early_s = (self._due_ns - frame.pts_ns) / 1e9
        self._timer = self._loop.call_later(min(max(LOOK_S, early_s), LONGEST_S), self._again)

    def _again(self) -> None:
        self._timer = None
        late = self._late
        if late is None or not self.credits or self.gone():
            return
        if not self._transport.get_write_buffer_size():
            self._late = None
            self._transport.write(self._packed.data if self._packed.frame is late else self._packed.make(late))
            self.sent = late
            self.credits -= 1
            # Times that went back, as those of a camera that started again, are a new beginning.
            back = self._due_ns - late.pts_ns > LONGEST_S * 1e9
            self._due_ns = (late.pts_ns if back else max(self._due_ns, late.pts_ns)) + INTERVAL_NS
        elif self._loop.time() - self._tried_s < STUCK_S:
            self._timer = self._loop.call_later(LOOK_S, self._again)
        else:
            self._transport.abort()
            self._ended()

    def close(self) -> None:
        """Forget what waits; it may be used again."""
        self._late = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
