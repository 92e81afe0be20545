"""HTTP/1 request heads: recognised, checked for everything that two parsers could read differently, normalised."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH"))
_OPENING = re.compile(rf"{TOKEN}{{1,24}}(?: [^\n]*)?\r?".encode())
_LINE = re.compile(rf"({TOKEN}{{1,24}}) ([^\x00-\x20\x7f#\\]+) HTTP/1\.([0-9])\r".encode())
_VERSION = re.compile(rb"HTTP/([0-9]+)\.([0-9]+)")
_NAME = re.compile(rf"{TOKEN}+")
_BAD_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?]*)(.*)", re.DOTALL)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::([0-9]{0,5}))?")
_PERCENT = re.compile(r"%([0-9A-Fa-f]{2})?")


class Unsettled(enum.Enum):
    """What a parse says when there is no head to show."""

    MORE = "more"
    NOT_HTTP = "not HTTP/1"


@dataclass(frozen=True, slots=True)
class BadHead:
    """HTTP for certain, and not to be served: `status` is the answer, `why` the reason in a few words."""

    status: int
    why: str


@dataclass(frozen=True, slots=True)
class Head:
    """A request head. `size` counts its bytes, leading empty lines and the closing one included.

    `host` is lower case without port, from the absolute-form target or else the Host field; None when there is
    none. `path` is percent-decoded once and free of `//`, `.` and `..`; `*` and "" (CONNECT) stay as they are.
    `whole` is False when the peek cap cut the head: then fields after the cut are unknown.
    """

    method: str
    target: str
    minor: int
    host: str | None
    path: str
    fields: tuple[tuple[str, str], ...]
    content_length: int | None
    chunked: bool
    size: int
    whole: bool

    def values(self, name: str) -> list[str]:
        """The values of all fields of that name (lower case)."""
        return [value for key, value in self.fields if key == name]

    def tokens(self, name: str) -> list[str]:
        """The comma-separated members of all fields of that name, lower case."""
        return [t.strip().lower() for v in self.values(name) for t in v.split(",") if t.strip()]

    @property
    def websocket(self) -> bool:
        upgrade = "websocket" in self.tokens("upgrade") and "upgrade" in self.tokens("connection")
        return upgrade and self.method == "GET" and self.minor == 1


def parse(data: bytes, eof: bool = False, full: bool = False) -> Head | BadHead | Unsettled:
    """The request head at the start of `data` (RFC 9112); a longer `data` never changes a settled answer.

    eof: no byte will follow. full: no byte will be looked at beyond these (the peek cap).
    """
    start = _skip_empty_lines(data)
    line_end = data.find(b"\n", start)
    if line_end < 0:
        return _unfinished_line(data[start:], eof, full)
    opened = _request_line(data[start:line_end])
    if not isinstance(opened, tuple):
        return opened
    end = data.find(b"\r\n\r\n", line_end - 1)
    if end >= 0:
        return _head(opened, data[line_end + 1 : max(end, line_end + 1)], end + 4, True)
    if full:
        seen = data[line_end + 1 : data.rfind(b"\r\n") + 2]
        return _head(opened, seen[:-2], len(data), False)
    return BadHead(400, "the head ends early") if eof else Unsettled.MORE


def looks_like_http(data: bytes) -> bool:
    """Whether the bytes begin with a method word that only HTTP uses, or with a beginning of one."""
    words = data[_skip_empty_lines(data) :][:24].split(b" ", 1)
    word = words[0].decode("latin-1")
    return word in METHODS if len(words) == 2 else bool(word) and any(m.startswith(word) for m in METHODS)


def asks_head(data: bytes) -> bool:
    """Whether the request is a HEAD, whose answer has no body."""
    return data.startswith(b"HEAD ", _skip_empty_lines(data))


def normal_path(path: str) -> str | None:
    """The path decoded once and resolved; None when two readers could resolve it differently."""
    if "%" not in path and "//" not in path and "/." not in path:
        return path
    decoded = _PERCENT.sub(_decoded, path)
    if "\0" in decoded:
        return None
    out: list[str] = []
    parts = decoded.split("/")[1:]
    for part in parts:
        if part == "..":
            if not out:
                return None
            out.pop()
        elif part not in ("", "."):
            out.append(part)
    slash = "/" if out and parts[-1] in ("", ".", "..") else ""
    return "/" + "/".join(out) + slash


def _decoded(match: re.Match[str]) -> str:
    # A NUL marks what must not pass: bad digits, control characters, and separators in disguise.
    char = chr(int(match[1], 16)) if match[1] else "\0"
    return "\0" if char in "/\\" or ord(char) < 0x20 or char == "\x7f" else char


def _skip_empty_lines(data: bytes) -> int:
    start = 0
    while data.startswith(b"\r\n", start):
        start += 2
    return start


def _unfinished_line(rest: bytes, eof: bool, full: bool) -> BadHead | Unsettled:
    if rest in (b"", b"\r"):
        return Unsettled.NOT_HTTP if eof or full else Unsettled.MORE
    if not _OPENING.fullmatch(rest):
        return Unsettled.NOT_HTTP
    if full and rest.split(b" ", 1)[0].decode() in METHODS:
        return BadHead(414, "the request line is too long")
    return Unsettled.NOT_HTTP if eof or full else Unsettled.MORE


def _request_line(line: bytes) -> tuple[str, str, int] | BadHead | Unsettled:
    # Recognised leniently, so that a mangled line is refused here and not taken for another protocol.
    version = _VERSION.fullmatch(line.rstrip().rpartition(b" ")[2])
    if version is None or not _OPENING.fullmatch(line):
        return Unsettled.NOT_HTTP
    if line.startswith(b"PRI ") and version[1] == b"2":
        return Unsettled.NOT_HTTP
    if version[1] != b"1":
        return BadHead(505, "HTTP version other than 1.x")
    strict = _LINE.fullmatch(line)
    if strict is None:
        return BadHead(400, "malformed request line")
    return strict[1].decode(), strict[2].decode("latin-1"), int(strict[3])


def _head(opened: tuple[str, str, int], lines: bytes, size: int, whole: bool) -> Head | BadHead:
    method, target, minor = opened
    fields = _fields(lines.decode("latin-1"))
    if isinstance(fields, BadHead):
        return fields
    places = _places(method, target, [v for k, v in fields if k == "host"], minor, whole)
    if isinstance(places, BadHead):
        return places
    framing = _framing(fields, minor)
    if isinstance(framing, BadHead):
        return framing
    return Head(method, target, minor, *places, fields, *framing, size, whole)


def _fields(lines: str) -> tuple[tuple[str, str], ...] | BadHead:
    out = []
    for line in lines.split("\r\n") if lines else ():
        if line[:1] in (" ", "\t"):
            return BadHead(400, "folded header line")
        name, colon, value = line.partition(":")
        if not (colon and _NAME.fullmatch(name)) or _BAD_IN_VALUE.search(value):
            return BadHead(400, "malformed header line")
        out.append((name.lower(), value.strip(" \t")))
    return tuple(out)


def _places(method: str, target: str, hosts: list[str], minor: int, whole: bool) -> tuple[str | None, str] | BadHead:
    if len(hosts) > 1:
        return BadHead(400, "more than one Host header")
    if not hosts and minor >= 1 and whole:
        return BadHead(400, "no Host header")
    named, host = (hosts[0] if hosts else None), None
    if named is not None:
        host = _host(named)
        if host is None:
            return BadHead(400, "malformed Host header")
    if method == "CONNECT":
        authority = _host(target)
        return (authority, "") if authority else BadHead(400, "malformed CONNECT target")
    if target == "*":
        return (host, "*") if method == "OPTIONS" else BadHead(400, "target * without OPTIONS")
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute:
        host = _host(absolute[1])
        if not host:
            return BadHead(400, "malformed host in the target")
        target = absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]
    if not target.startswith("/"):
        return BadHead(400, "target is not a path")
    path = normal_path(target.partition("?")[0])
    return BadHead(400, "path cannot be normalised") if path is None else (host, path)


def _host(text: str) -> str | None:
    match = _HOST.fullmatch(text)
    return match[1].lower().rstrip(".") if match else None


def _framing(fields: tuple[tuple[str, str], ...], minor: int) -> tuple[int | None, bool] | BadHead:
    lengths = [v for k, v in fields if k == "content-length"]
    codings = [v.lower() for k, v in fields if k == "transfer-encoding"]
    if lengths and codings:
        return BadHead(400, "both Content-Length and Transfer-Encoding")
    if codings and (codings != ["chunked"] or minor < 1):
        return BadHead(400, "Transfer-Encoding other than chunked")
    if len(lengths) > 1 or (lengths and not re.fullmatch("[0-9]{1,18}", lengths[0])):
        return BadHead(400, "malformed or repeated Content-Length")
    return (int(lengths[0]) if lengths else None), bool(codings)
