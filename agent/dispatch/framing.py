"""Where an HTTP/1 message ends (RFC 9112 6 and 7): counts bytes, keeps none, changes none.

`take` says how many of the bytes shown belong to the message; `sure` of the next ones do whatever they are, and may
pass unseen when `skip` is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from agent.dispatch.httphead import Head

MAX_HEAD_BYTES = 65536
HEAD_TIMEOUT_S = 10.0
_MAX_LINE_BYTES = 1024
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
_CONNECTION_FIELDS = (b"connection", b"keep-alive", b"proxy-connection")
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [^\r\n]*)?\r\n")


class Malformed(ValueError):
    """The message breaks its framing; nothing after this point can be trusted."""


class Counted:
    """A body of a known number of bytes."""

    def __init__(self, size: int) -> None:
        self.left = size

    @property
    def sure(self) -> int:
        return self.left

    def skip(self, count: int) -> None:
        self.left -= count

    @property
    def done(self) -> bool:
        return self.left == 0

    def take(self, data: memoryview) -> int:
        """How many of these next bytes belong to the message."""
        taken = min(self.left, len(data))
        self.left -= taken
        return taken


class Chunked:
    """A body in chunks, trailers included; strict about everything that two readers could read differently."""

    def __init__(self) -> None:
        self.done = False
        self._left = 0
        self._line = b""
        self._state = "size"
        self._trailer_bytes = 0

    @property
    def sure(self) -> int:
        return self._left

    def skip(self, count: int) -> None:
        self._left -= count

    def take(self, data: memoryview) -> int:
        """How many of these next bytes belong to the message. Raises Malformed."""
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
            else:
                at = self._read_line(data, at)
        return at

    def _read_line(self, data: memoryview, at: int) -> int:
        piece = bytes(data[at : at + _MAX_LINE_BYTES])
        end = piece.find(b"\n")
        self._line += piece if end < 0 else piece[: end + 1]
        if len(self._line) > _MAX_LINE_BYTES:
            raise Malformed("chunk line too long")
        if end < 0:
            return at + len(piece)
        line, self._line = self._line, b""
        self._whole_line(line)
        return at + end + 1

    def _whole_line(self, line: bytes) -> None:
        if not line.endswith(b"\r\n"):
            raise Malformed("bare line feed in the chunk framing")
        if self._state == "size":
            size = _SIZE.fullmatch(line)
            if size is None:
                raise Malformed("malformed chunk size")
            self._left = int(size[1], 16)
            self._state = "after" if self._left else "trailer"
        elif self._state == "after":
            if line != b"\r\n":
                raise Malformed("chunk longer than its size")
            self._state = "size"
        elif line == b"\r\n":
            self.done = True
        else:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > MAX_HEAD_BYTES or b":" not in line[1:]:
                raise Malformed("malformed trailer")


class UntilEnd:
    """A body that ends with the connection."""

    done = False
    sure = 1 << 30

    def skip(self, count: int) -> None:
        pass

    def take(self, data: memoryview) -> int:
        return len(data)


Body = Counted | Chunked | UntilEnd


def request_body(head: Head) -> Body:
    """What follows a request head."""
    return Chunked() if head.chunked else Counted(head.content_length or 0)


def keeps_alive(head: Head) -> bool:
    tokens = head.tokens("connection")
    return "close" not in tokens and (head.minor >= 1 or "keep-alive" in tokens)


class Response:
    """A response to one request: interim answers, the head, the body.

    `switched`: 101 to an upgrade; every byte from there on is another protocol. `keep_alive`: the end of the
    response is not the end of the connection.
    """

    def __init__(self, request: Head) -> None:
        self.done = False
        self.switched = False
        self.keep_alive = True
        self.on_switch: Callable[[], None] | None = None
        self.no_body = request.method == "HEAD"
        self._upgrade = bool(request.tokens("upgrade"))
        self._head = b""
        self._body: Body | None = None

    @property
    def sure(self) -> int:
        return self._body.sure if self._body else 0

    def skip(self, count: int) -> None:
        assert self._body
        self._body.skip(count)
        self.done = self._body.done

    @property
    def ends_with_connection(self) -> bool:
        return isinstance(self._body, UntilEnd)

    def take(self, data: memoryview) -> int:
        """How many of these next bytes belong to the response. Raises Malformed."""
        at = 0
        while at < len(data) and not self.done and not self.switched:
            if self._body is None:
                at = self._read_head(data, at)
            else:
                at += self._body.take(data[at:])
            self.done = self._body is not None and self._body.done
        return len(data) if self.switched else at

    def _read_head(self, data: memoryview, at: int) -> int:
        before = len(self._head)
        self._head += bytes(data[at : at + MAX_HEAD_BYTES])
        end = self._head.find(b"\r\n\r\n", max(before - 3, 0))
        if end < 0:
            if len(self._head) > MAX_HEAD_BYTES:
                raise Malformed("response head too long")
            return len(data)
        head, self._head = self._head[: end + 4], b""
        self._whole_head(head)
        return at + end + 4 - before

    def _whole_head(self, head: bytes) -> None:
        status = _STATUS.match(head)
        if status is None:
            raise Malformed("not an HTTP/1 response")
        code = int(status[2])
        if code == 101 and self._upgrade:
            self.switched = True
            if self.on_switch:
                self.on_switch()
        elif code >= 200:
            self._body = self._framing(head, code, status[1] == b"1")

    def _framing(self, head: bytes, code: int, modern: bool) -> Body:
        fields = [line.partition(b":") for line in head.split(b"\r\n")[1:-2]]
        found = [(name.strip().lower(), value.strip().lower()) for name, _, value in fields]
        connection = b",".join(value for name, value in found if name == b"connection")
        self.keep_alive = b"close" not in connection and (modern or b"keep-alive" in connection)
        lengths = {value for name, value in found if name == b"content-length"}
        codings = [value for name, value in found if name == b"transfer-encoding"]
        if self.no_body or code in (204, 304):
            return Counted(0)
        if codings:
            if lengths or codings != [b"chunked"]:
                raise Malformed("response framed in two ways")
            return Chunked()
        if lengths:
            if len(lengths) > 1 or not (size := lengths.pop()).isdigit():
                raise Malformed("malformed Content-Length in the response")
            return Counted(int(size))
        self.keep_alive = False
        return UntilEnd()


def with_close(raw: bytes) -> bytes:
    """The request head `raw`, its connection fields replaced by `Connection: close`; nothing else changes."""
    start = len(raw) - len(raw.lstrip(b"\r\n"))
    line, *fields = raw[start:-4].split(b"\r\n")
    kept = [f for f in fields if f.partition(b":")[0].lower() not in _CONNECTION_FIELDS]
    return b"\r\n".join([line, *kept, b"Connection: close", b"", b""])
