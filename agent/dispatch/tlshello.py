"""TLS ClientHello: server name (SNI) and offered protocols (ALPN) from the first bytes; RFC 8446 4.1.2, RFC 6066 3."""

from __future__ import annotations

import enum
from dataclasses import dataclass

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _ALPN = 0, 16
_MAX_RECORD_BYTES = 16384
_MAX_HELLO_BYTES = 65535

UNRECOGNIZED_NAME = bytes((21, 3, 1, 0, 2, 2, 112))
"""A fatal alert record: what a TLS client is told when no route takes it."""


class Unsettled(enum.Enum):
    MORE = "more"
    NOT_TLS = "not a TLS ClientHello"


@dataclass(frozen=True, slots=True)
class Hello:
    """`sni` is lower case, "" when the client named no server; `alpn` in the client's order."""

    sni: str
    alpn: tuple[str, ...]


def parse(data: bytes) -> Hello | Unsettled:
    """The ClientHello at the start of `data`, however many records it spans; later bytes change nothing."""
    hello, at = b"", 0
    while True:
        head = data[at : at + 5]
        if not _record_head_fits(head):
            return Unsettled.NOT_TLS
        if len(head) < 5:
            return Unsettled.MORE
        size = int.from_bytes(head[3:5], "big")
        hello += data[at + 5 : at + 5 + size]
        if hello and hello[0] != _CLIENT_HELLO:
            return Unsettled.NOT_TLS
        if len(hello) >= 4:
            wanted = int.from_bytes(hello[1:4], "big")
            if wanted > _MAX_HELLO_BYTES:
                return Unsettled.NOT_TLS
            if len(hello) >= 4 + wanted:
                return _body(hello[4 : 4 + wanted])
        at += 5 + size
        if at > len(data):
            return Unsettled.MORE


def _record_head_fits(head: bytes) -> bool:
    known = bytes((_HANDSHAKE, 3))
    if head[:2] != known[: len(head)] or (len(head) > 2 and head[2] > 4):
        return False
    return len(head) < 5 or 0 < int.from_bytes(head[3:5], "big") <= _MAX_RECORD_BYTES


class _Cursor:
    """Reads fields off a byte string; ValueError where they do not fit."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        out = self._data[self._at : self._at + count]
        if len(out) < count:
            raise ValueError("field longer than what holds it")
        self._at += count
        return out

    def vector(self, length_bytes: int) -> bytes:
        return self.take(int.from_bytes(self.take(length_bytes), "big"))

    @property
    def left(self) -> int:
        return len(self._data) - self._at


def _body(body: bytes) -> Hello | Unsettled:
    try:
        cursor = _Cursor(body)
        cursor.take(2 + 32)
        cursor.vector(1)
        cursor.vector(2)
        cursor.vector(1)
        sni = ""
        alpn: tuple[str, ...] = ()
        extensions = _Cursor(cursor.vector(2) if cursor.left else b"")
        while extensions.left:
            kind = int.from_bytes(extensions.take(2), "big")
            value = extensions.vector(2)
            if kind == _SERVER_NAME:
                sni = _server_name(value)
            elif kind == _ALPN:
                alpn = _protocols(value)
        return Hello(sni, alpn)
    except (ValueError, UnicodeDecodeError):
        return Unsettled.NOT_TLS


def _server_name(value: bytes) -> str:
    names = _Cursor(_Cursor(value).vector(2))
    while names.left:
        kind, name = names.take(1), names.vector(2)
        if kind == b"\0":
            return name.decode("ascii").lower().rstrip(".")
    return ""


def _protocols(value: bytes) -> tuple[str, ...]:
    names = _Cursor(_Cursor(value).vector(2))
    out = []
    while names.left:
        out.append(names.vector(1).decode("latin-1"))
    return tuple(out)
