"""How families of cameras frame an MJPEG stream over HTTP: one row each."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Style:
    """One way to write a response's head (`status`, `kind`, `fields`) and the parts behind it.

    `line` stands before each part, `first` before the first one if that differs; a part's head is `length` (the
    field's name, "" for none), `dated`, `extra` and `part`, in that order, `newline` behind each. `before` and
    `behind` are bytes around a part, `pad` bytes inside it, behind the picture's end.
    """

    about: str
    kind: str = "multipart/x-mixed-replace;boundary=frame"
    line: str = "--frame"
    first: str | None = None
    length: str = "Content-Length"
    part: str = "Content-Type: image/jpeg"
    extra: tuple[str, ...] = ()
    dated: bool = False
    before: bytes = b""
    behind: bytes = b"\r\n"
    pad: bytes = b""
    newline: str = "\r\n"
    status: str = "HTTP/1.0 200 OK"
    fields: tuple[str, ...] = ("Connection: close", "Pragma: no-cache", "Cache-Control: no-cache")

    def head(self) -> bytes:
        """The response's head."""
        lines = [self.status, "Server: dcs-920-simulated", *self.fields]
        if self.kind:
            lines.append(f"Content-Type: {self.kind}")
        return self.newline.join([*lines, "", ""]).encode()

    def part_head(self, length: int | None, is_first: bool) -> bytes:
        """What stands between two pictures; `length` None leaves the field out."""
        line = self.line if self.first is None or not is_first else self.first
        lines = [line] if line else []
        if length is not None and self.length:
            lines.append(f"{self.length}: {length}")
        if self.dated:
            lines.append(time.strftime("Date: %m-%d-%Y %I:%M:%S %p IO_00000000_PT_005_000"))
        lines += [*self.extra, *([self.part] if self.part else [])]
        head = self.newline.join([*lines, "", ""]) if lines else ""
        return self.before + head.encode()


_MIXED = "multipart/x-mixed-replace"

STYLES = {
    "dcs920": Style(
        "the boundary's dashes are part of its name, and it has a space",
        f"{_MIXED};boundary=--video boundary--",
        "--video boundary--",
        length="Content-length",
        part="Content-type: image/jpeg",
        dated=True,
        behind=b"\r\n\r\n",
    ),
    "plain": Style("as the standard has it"),
    "quoted": Style("the boundary in quotes", f'{_MIXED}; boundary="frame"'),
    "charset": Style("something behind the boundary", f"{_MIXED}; boundary=frame; charset=utf-8"),
    "capitals": Style("fields and boundary in another case", "Multipart/X-Mixed-Replace;BOUNDARY=FRAME", "--FRAME"),
    "unnamed": Style("no boundary in the response's head", _MIXED),
    "tasmota": Style("no boundary before the first part", first=""),
    "doubled": Style("the boundary twice", line="--frame\r\n--frame"),
    "renamed": Style("another boundary than the head says", f"{_MIXED};boundary=frame", "--other"),
    "ffmpeg": Style("no length", f"{_MIXED};boundary=ffmpeg", "--ffmpeg", length=""),
    "status": Style(
        "fields of the maker's, in another order",
        extra=("X-Status: 1", "X-Tags: a=1; b=2; " + "c" * 900, "X-Flags: 0"),
        part="Content-Type: image/jpeg; q=1",
    ),
    "unix": Style("lines end with a line feed only", newline="\n", behind=b"\n"),
    "junk": Style("bytes of no meaning between the parts", before=b"\0\1\2junk\xff\xd8\0\r\n"),
    "padded": Style("parts padded behind the picture's end", pad=b"\0" * 37),
    "octets": Style("parts that do not say JPEG", part="Content-Type: application/octet-stream"),
    "untyped": Style("parts without a type, and a response without one", "", part=""),
    "bare": Style("pictures in a row, called one picture", "image/jpeg", "", length="", part="", behind=b""),
    "icy": Style(
        "a head that is hardly HTTP",
        status="ICY 200",
        fields=("this line has no colon", ": nor a name", "Connection: Keep-Alive, close", "Content-Length: 17"),
    ),
    "keep-alive": Style("says that it keeps the connection, and does not", fields=("Connection: keep-alive",)),
}
