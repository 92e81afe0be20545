"""Short texts of WebSocket clients, read without waking a task for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TEXT, FINAL, MASKED, LONG = 0x81, 0x80, 0x80, 126
HEAD_BYTES = 6
BUFFER_BYTES = 16 * 1024


class Credits(asyncio.BufferedProtocol):
    """Stands before a WebSocket's protocol and takes the texts of up to 125 bytes that come in one piece.

    Everything else (RFC 6455, 5.2: longer, cut, or of another kind) goes on to the protocol behind; after a message in
    several frames, or a frame in several pieces, all of it does.
    A buffer shared by all: one made for each read would cost as much as the rest of reading.
    """

    _buffer = memoryview(bytearray(BUFFER_BYTES))

    def __init__(self, behind: asyncio.Protocol, take: Callable[[bytes], None]) -> None:
        self._behind = behind
        self._take = take
        self._whole = True

    @classmethod
    def put_before(cls, transport: asyncio.Transport, take: Callable[[bytes], None]) -> None:
        """From now on `take` is called with each short text; call it once the handshake is done."""
        behind = transport.get_protocol()
        assert isinstance(behind, asyncio.Protocol)
        transport.set_protocol(cls(behind, take))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._buffer[:nbytes])
        at, end = 0, nbytes
        while self._whole and end - at >= HEAD_BYTES and data[at] == TEXT and MASKED <= data[at + 1] < MASKED + LONG:
            body = at + HEAD_BYTES
            after = body + data[at + 1] - MASKED
            if after > end:
                break
            self._take(_unmasked(data[body:after], data[at + 2 : body]))
            at = after
        if at < end:
            rest = data[at:]
            self._whole = self._whole and _ends_with_a_frame(rest)
            self._behind.data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        self._behind.connection_lost(exc)

    def eof_received(self) -> bool | None:
        return self._behind.eof_received()

    def pause_writing(self) -> None:
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        self._behind.resume_writing()


def _unmasked(body: bytes, mask: bytes) -> bytes:
    size = len(body)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(body, "big") ^ key).to_bytes(size, "big")


def _ends_with_a_frame(data: bytes) -> bool:
    """Whether these are whole frames, each a message of its own and short."""
    at, end = 0, len(data)
    while at < end:
        if end - at < 2 or not data[at] & FINAL or data[at + 1] < MASKED or data[at + 1] >= MASKED + LONG:
            return False
        at += HEAD_BYTES + data[at + 1] - MASKED
    return at == end
