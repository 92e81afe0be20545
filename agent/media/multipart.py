"""MJPEG over HTTP cut into pictures where they lie in the receive buffer, whatever the camera makes of its framing."""

import re
from collections.abc import Callable

from agent.media.jpeg import END, START, BrokenJpeg, JpegInfo, Walker, check_size, parse

MAX_PART_BYTES = 8 * 1024 * 1024
MAX_HEAD_BYTES = 16 * 1024
READ_BYTES = 64 * 1024
DISTRUST_AFTER = 3

_BLANK_OR_PICTURE = re.compile(rb"\n\r?\n|\xff\xd8\xff")
_SPACE = re.compile(rb"[\r\n\t \0]*")
_LENGTH = re.compile(rb"(?i)content-length[ \t]*:[ \t]*(\d{1,18})")
_FIELD = re.compile(rb"(?i)content-|^--|\n--")
_BOUNDARY = re.compile(rb"(?:^|\n)(--[^\r\n]{2,200})")
_JUNK_END = re.compile(rb"\xff\xd8\xff|\n--")
_TEXT = re.compile(rb"[\t\r\n\x20-\x7e]{32}")


class NoRoom(ValueError):
    """The buffer would have to grow, and may not."""


class Splitter:
    """Bytes of a multipart/x-mixed-replace body (or of bare JPEGs in a row) in, whole JPEGs out.

    Receive into `room()`, then call `received(n)`, which returns the pictures that became whole, each copied
    once. While a part of known length is under way, `missing` is the number of bytes before anything can
    happen: nothing needs to be called for a part of it.

    Content-Length is believed when an end of image stands where it says; else the picture is walked to its
    end, and after three lies in a row the field is ignored. What is cut off or no JPEG is dropped
    and counted in `bad_parts`; `resyncs` counts the places where the framing was not what it said.
    Raises ValueError when a part, a head or a picture exceeds its limit: the connection is to be dropped; NoRoom when
    `may_grow`, asked before the buffer becomes of so many bytes, says no.
    """

    def __init__(
        self,
        max_part_bytes: int = MAX_PART_BYTES,
        max_head_bytes: int = MAX_HEAD_BYTES,
        may_grow: Callable[[int], bool] = lambda size: True,
    ) -> None:
        self._max_part = max_part_bytes
        self._max_head = max_head_bytes
        self._may_grow = may_grow
        self._buf = bytearray(4 * READ_BYTES)
        self._view = memoryview(self._buf)
        self._at = 0
        self._end = 0
        self._length = -1
        self._skip = 0
        self._junk = 0
        self._lies = 0
        self._walker = Walker()
        self._cut_from = 0
        self._delimiter = b""
        self._header = b""
        self._step: Callable[[list[bytes]], bool] = self._head
        self.missing = 1
        self.frames = 0
        self.resyncs = 0
        self.bad_parts = 0

    @property
    def buffer_bytes(self) -> int:
        return len(self._buf)

    @property
    def begun(self) -> int:
        """Bytes that are here of the picture under way; a boundary or a head before it is none."""
        return self._end - self._at if self._step in (self._sized, self._walk) else 0

    def room(self) -> memoryview:
        """Where to receive into: 64 KiB at least, and all that is missing of the part under way."""
        left = len(self._buf) - self._end
        if left < READ_BYTES or left < self.missing + 4096:
            self._compact(max(self.missing + 4096, READ_BYTES))
        return self._view[self._end :]

    def expect(self, count: int) -> None:
        """So many bytes are to come at once: `room()` has them."""
        self.missing = max(self.missing, count)

    def received(self, count: int) -> list[bytes]:
        """The pictures that became whole with `count` more bytes in `room()`; raises ValueError at a limit."""
        self._end += count
        pictures: list[bytes] = []
        while self._at < self._end and self._step(pictures):
            pass
        if self._at == self._end:
            self._move(0)
        # A plain attribute: what is asked twice for each piece of each picture is computed once.
        self.missing = max(1, self._at + self._length - self._end) if self._step == self._sized else 1
        return pictures

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """The same for bytes that were received elsewhere, at the price of one more copy."""
        pictures: list[bytes] = []
        rest = memoryview(data)
        while rest:
            room = self.room()
            n = min(len(room), len(rest))
            room[:n] = rest[:n]
            pictures += self.received(n)
            rest = rest[n:]
        return pictures

    def close(self) -> list[bytes]:
        """The body has ended: what is whole although more was promised; the rest is lost. Raises ValueError."""
        pictures: list[bytes] = []
        while self._step == self._sized:
            self._lied()
            self._walk_from_here()
            while self._at < self._end and self._step(pictures):
                pass
        self.bad_parts += self._step == self._walk
        return pictures

    def free(self) -> None:
        """Let go of the buffer, which a traceback would keep until garbage is collected; nothing can follow."""
        self._buf, self._view = bytearray(), memoryview(b"")

    def _compact(self, want: int) -> None:
        kept = self._end - self._at
        if kept + want <= len(self._buf):
            self._buf[:kept] = self._buf[self._at : self._end]
        else:
            size = len(self._buf)
            while size < kept + want:
                size *= 2
            if not self._may_grow(size):
                raise NoRoom(f"no room for a part of {want} bytes")
            grown = bytearray(size)
            grown[:kept] = self._view[self._at : self._end]
            self._buf, self._view = grown, memoryview(grown)
        self._move(kept)

    def _move(self, kept: int) -> None:
        self._walker.at -= self._at
        self._cut_from -= self._at
        self._at, self._end = 0, kept

    def _head(self, _: list[bytes]) -> bool:
        """Between parts: look for the end of a header block, or for a picture that has none."""
        if self._buf[self._at] in b"\r\n\t \0":
            self._at = _SPACE.match(self._buf, self._at, self._end).end()  # type: ignore[union-attr]
        limit = min(self._end, self._at + self._max_head)
        found = _BLANK_OR_PICTURE.search(self._buf, self._at, limit)
        if not found:
            if limit < self._end:
                return self._no_head()
            return False
        text = bytes(self._view[self._at : found.start()])
        length = _LENGTH.search(text)
        self._length = int(length[1]) if length else -1
        # Where the length is told the boundary is looked for once; without one it is what ends a cut picture.
        if (self._length < 0 or not self._delimiter) and (boundary := _BOUNDARY.search(text)):
            self._delimiter = b"\n" + boundary[1].rstrip()
        if found[0] == START:
            self._at = found.start()
            return self._picture()
        self._at = found.end()
        self._step = self._body if self._length >= 0 or _FIELD.search(text) else self._head
        return True

    def _no_head(self) -> bool:
        if _TEXT.match(self._buf, self._at, self._end):
            raise ValueError(f"a part's header is longer than {self._max_head} bytes")
        self.resyncs += 1
        self._step = self._hunt
        return True

    def _body(self, _: list[bytes]) -> bool:
        """Behind a header block: a picture, something else of known length, or nothing."""
        if self._end - self._at < 3:
            return False
        if self._buf.startswith(START, self._at):
            return self._picture()
        self._step = self._head
        if self._length == 0:
            self.bad_parts += 1
        elif self._length > 0 and self._buf[self._at] not in b"\r\n":
            self.bad_parts += 1
            if self._length <= self._max_part and self._lies < DISTRUST_AFTER:
                self._skip = self._length
                self._step = self._drop
        elif self._length < 0 and self._buf[self._at] not in b"\r\n-":
            self.bad_parts += 1
            self._step = self._hunt
        return True

    def _drop(self, _: list[bytes]) -> bool:
        n = min(self._skip, self._end - self._at)
        self._at += n
        self._skip -= n
        if self._skip:
            return False
        self._step = self._head
        return True

    def _hunt(self, _: list[bytes]) -> bool:
        """In bytes that mean nothing: look for the next picture or boundary."""
        found = _JUNK_END.search(self._buf, self._at, self._end)
        to = found.start() if found else max(self._at, self._end - 2)
        self._junk += to - self._at
        self._at = to
        if self._junk > self._max_part:
            raise ValueError(f"no picture within {self._max_part} bytes")
        if found:
            self._step = self._head
        return found is not None

    def _picture(self) -> bool:
        if 0 < self._length <= self._max_part and self._lies < DISTRUST_AFTER:
            self._step = self._sized
            return True
        if self._length == 0 or self._length > self._max_part:
            self._lied()
        self._walk_from_here()
        return True

    def _lied(self) -> None:
        self._lies += 1
        self.resyncs += 1

    def _walk_from_here(self) -> None:
        self._walker = Walker(self._at)
        self._cut_from = self._at
        self._step = self._walk

    def _sized(self, pictures: list[bytes]) -> bool:
        stop = self._at + self._length
        if self._end < stop:
            return False
        if self._buf.startswith(END, stop - 2) or self._trailer(stop):
            self._lies = 0
            self._emit(stop, pictures)
        else:
            self._lied()
            self._walk_from_here()
        return True

    def _trailer(self, stop: int) -> bool:
        """Whether the part has bytes of the camera's own behind the picture, and no framing among them."""
        try:
            end = Walker(self._at).end(self._buf, stop)
        except BrokenJpeg:
            return False
        if end is None:
            return False
        rest = bytes(self._view[end:stop])
        return bool(rest.strip(b"\r\n-")) and b"--" not in rest and START not in rest

    def _walk(self, pictures: list[bytes]) -> bool:
        """No length to go by: the picture ends where its segments say, and no later than the next boundary."""
        cut = self._buf.find(self._delimiter, self._cut_from, self._end) if self._delimiter else -1
        try:
            end = self._walker.end(self._buf, self._end if cut < 0 else cut)
        except BrokenJpeg as e:
            return self._truncated(max(e.at, self._at + 3))
        if end is not None:
            self._emit(end, pictures)
            return True
        if cut >= 0:
            return self._truncated(cut)
        self._cut_from = max(self._at, self._end - len(self._delimiter))
        if self._end - self._at > self._max_part:
            raise ValueError(f"a part is longer than {self._max_part} bytes")
        return False

    def _truncated(self, to: int) -> bool:
        self.bad_parts += 1
        self.resyncs += 1
        self._at = to
        self._step = self._hunt
        return True

    def _emit(self, stop: int, pictures: list[bytes]) -> None:
        data = bytes(self._view[self._at : stop])
        self._at = stop
        self._junk = 0
        self._step = self._head
        if not (self._header and data.startswith(self._header)):
            try:
                info, behind = parse(data)
            except BrokenJpeg:
                self.bad_parts += 1
                return
            check_size(info)
            self._header = data[:behind] if _same_for_all(info) else b""
        self.frames += 1
        pictures.append(data)


def _same_for_all(info: JpegInfo) -> bool:
    """Whether a later picture with the same header needs no look of its own."""
    return info.scans == 1 and not info.progressive
