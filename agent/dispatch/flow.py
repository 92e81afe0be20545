"""One direction of a relayed connection: from socket to socket, as fast as the slower one takes it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Protocol

from agent.dispatch.framing import Malformed
from agent.dispatch.pipes import PIPE_BYTES, Pipes

COPY_BYTES = 256 * 1024
SPLICE_AFTER_BYTES = 1 << 20
_SPLICE = 1 | 2  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK


class Framing(Protocol):
    """Says how many of the next bytes may pass; `done` once none may follow; `sure` of them pass unseen (`skip`)."""

    @property
    def done(self) -> bool: ...

    @property
    def sure(self) -> int: ...

    def skip(self, count: int) -> None: ...

    def take(self, data: memoryview) -> int: ...


class Flow:
    """Copies, and past the first MiB splices. Holds at most one buffer (or one kernel pipe) of unsent bytes.

    `moved` counts bytes that came from `src` and were sent. `framing`: pass its bytes only, leave later ones
    unread, and end without passing on an end of stream. Errors go to `broken(flow, from_src)`.
    """

    __slots__ = (
        "_broken",
        "_buffer",
        "_ended",
        "_held",
        "_loop",
        "_pipe",
        "_pipes",
        "_stir",
        "_watching",
        "_writing",
        "dst",
        "ended",
        "eof",
        "framing",
        "moved",
        "rest",
        "src",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        buffer: memoryview,
        pipes: Pipes | None,
        stir: Callable[[], None],
        ended: Callable[[Flow], None],
        broken: Callable[[Flow, bool, OSError | Malformed], None],
    ) -> None:
        self._loop = loop
        self._buffer = buffer
        self._pipes = pipes
        self._stir = stir
        self._ended = ended
        self._broken = broken
        self.src: socket.socket
        self.dst: socket.socket
        self.framing: Framing | None = None
        self.rest = b""
        self.moved = 0
        self.eof = False
        self.ended = False
        self._held = 0
        self._pipe: tuple[int, int] | None = None
        self._watching = False
        self._writing = False

    def start(self) -> None:
        """Begin, `rest` first; `src` and `dst` are set."""
        if self.rest:
            self.flush()
        elif self.framing is not None and self.framing.done:
            self._finish()
        else:
            self._watch()

    def stop(self) -> None:
        """For good: let go of who made this, too, so that no cycle is left to collect."""
        self.pause()
        self._stir, self._ended, self._broken = _nothing, _nothing, _nothing

    def pause(self) -> None:
        """Leave both sockets alone and give the pipe back."""
        self._unwatch()
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self.dst.fileno())
        if self._pipe and self._pipes:
            self._pipes.put(self._pipe, self._held == 0)
            self._pipe = None

    def flush(self) -> None:
        """Send what is held; go on reading once it is gone."""
        self._stir()
        try:
            if self.rest:
                sent = self.dst.send(self.rest)
                self.rest = self.rest[sent:]
            while self._held and self._pipe:
                self._sent(os.splice(self._pipe[0], self.dst.fileno(), self._held, flags=_SPLICE))
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as e:
            return self._broken(self, False, e)
        if self.rest or self._held:
            return self._await_room()
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self.dst.fileno())
        if self.eof or (self.framing is not None and self.framing.done):
            self._finish()
        else:
            self._watch()

    def _sent(self, count: int) -> None:
        self._held -= count

    def _await_room(self) -> None:
        self._unwatch()
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self.dst.fileno(), self.flush)

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            self._loop.add_reader(self.src.fileno(), self._readable)

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self.src.fileno())

    def _readable(self) -> None:
        self._stir()
        if self._pipe and self._sure(PIPE_BYTES):
            return self._splice(self._sure(PIPE_BYTES))
        try:
            count, eof = self._receive()
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, Malformed) as e:
            return self._broken(self, True, e)
        self.eof = eof
        self.moved += count
        sent = 0
        if count:
            try:
                sent = self.dst.send(self._buffer[:count])
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as e:
                return self._broken(self, False, e)
        if sent < count:
            self.rest = bytes(self._buffer[sent:count])
            return self._await_room()
        if eof or (self.framing is not None and self.framing.done):
            self._finish()
        elif (
            self._pipes and not self._pipe and self.moved >= SPLICE_AFTER_BYTES and self._sure(COPY_BYTES) == COPY_BYTES
        ):
            self._pipe = self._pipes.get()

    def _sure(self, most: int) -> int:
        """How many of the next bytes may pass unseen."""
        return most if self.framing is None else min(most, self.framing.sure)

    def _receive(self) -> tuple[int, bool]:
        """Bytes read into the buffer, and whether the stream ended."""
        if sure := self._sure(COPY_BYTES):
            count = self.src.recv_into(self._buffer, sure)
            if self.framing is not None:
                self.framing.skip(count)
            return count, not count
        assert self.framing is not None
        count = self.src.recv_into(self._buffer, COPY_BYTES, socket.MSG_PEEK)
        if not count:
            return 0, True
        allowed = self.framing.take(self._buffer[:count])
        return (self.src.recv_into(self._buffer, allowed) if allowed else 0), False

    def _splice(self, most: int) -> None:
        assert self._pipe is not None
        try:
            count = os.splice(self.src.fileno(), self._pipe[1], most, flags=_SPLICE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as e:
            return self._broken(self, True, e)
        if self.framing is not None:
            self.framing.skip(count)
        self.eof = not count
        self.moved += count
        self._held += count
        self.flush()

    def _finish(self) -> None:
        self.ended = True
        self._unwatch()
        self._ended(self)


def _nothing(*_: object) -> None:
    pass
