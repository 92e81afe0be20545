"""Clients must mask their frames (RFC 6455, 5.1), which aiohttp's reader does not ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web


class Masked:
    """Stands before a connection's reader and looks at the head of each frame; from an unmasked one on it is deaf."""

    def __init__(self, reader: Any, broken: Callable[[], None]) -> None:
        self._reader = reader
        self._broken = broken
        self._head = bytearray()
        self._skip = 0
        self._deaf = False

    @classmethod
    def require(cls, request: web.Request, broken: Callable[[], None]) -> None:
        """`broken` is called at the first unmasked frame; call this once the handshake is done."""
        protocol: Any = request.protocol
        protocol._payload_parser = cls(protocol._payload_parser, broken)  # aiohttp has no public place for it

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        if not self._deaf and not self._walk(data):
            self._deaf = True
            self._broken()
        if self._deaf:
            return False, b""
        done: tuple[bool, bytes] = self._reader.feed_data(data)
        return done

    def _walk(self, data: bytes) -> bool:
        at, end = 0, len(data)
        while at < end:
            if self._skip:
                step = min(self._skip, end - at)
                self._skip -= step
                at += step
                continue
            self._head.append(data[at])
            at += 1
            if len(self._head) < 2:
                continue
            if not self._head[1] & 0x80:
                return False
            size = self._head[1] & 0x7F
            more = {126: 2, 127: 8}.get(size, 0)
            if len(self._head) == 2 + more:
                self._skip = 4 + (int.from_bytes(self._head[2:], "big") if more else size)
                self._head.clear()
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)
