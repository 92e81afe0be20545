"""Response bodies that become pictures: as they come, or in HTTP chunks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from agent.errors import TransientError
from agent.media.jpeg import TooLarge
from agent.media.multipart import Splitter
from agent.sources.rhythm import Rhythm

_READ_BYTES = 64 * 1024
_LINE = re.compile(rb"\r?\n?([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\n]{0,200})?\r?\n")
_MAX_LINE_BYTES = 256
HOPELESS = 30


def told_of(splitter: Splitter) -> str:
    """What came that is no picture, in words; "" for nothing."""
    bad = splitter.bad_parts
    came = "1 part came that is" if bad == 1 else f"{bad} parts came that are"
    return f"{came} no whole picture: empty, cut off or no JPEG" if bad else ""


def _hopeless(splitter: Splitter) -> None:
    """Raises TransientError where so much came and none of it is a picture."""
    if splitter.bad_parts >= HOPELESS and not splitter.frames:
        raise TransientError(told_of(splitter))


Take = Callable[[list[bytes], list[int]], int]
"""Takes pictures that were received together, with the time of arrival of each (monotonic nanoseconds). Returns until
when nobody wants another."""


class Pictures:
    """A body of JPEGs, received in place, and given to `publish` whole, as soon as somebody wants them.

    `length`: if known.
    """

    def __init__(self, splitter: Splitter, publish: Take, length: int | None = None) -> None:
        self._splitter = splitter
        self._publish = publish
        self._left = length
        self._rhythm = Rhythm()
        self._since = self._pieces = 0
        self.patience_s = 0.0
        self.room = splitter.room

    def take(self, count: int) -> int:
        """Raises TransientError and TooLarge."""
        try:
            pictures = self._splitter.received(count)
        except ValueError as e:
            raise _as_error(e) from None
        self._since += count
        self._pieces += 1
        want, self.patience_s = self._splitter.missing, 0.0
        if pictures:
            begun = self._splitter.begun
            now_ns, size = time.monotonic_ns(), self._since - begun
            times = self._rhythm.came(now_ns, len(pictures), size, self._pieces, begun > 0)
            self._since, self._pieces = begun, 0
            until_ns = self._publish(pictures, times)
            self._rhythm.wait(time.monotonic_ns(), until_ns)
            if (least := self._rhythm.least - begun) > want:
                want, self.patience_s = least, self._rhythm.patience_s
                self._splitter.expect(want)
        else:
            _hopeless(self._splitter)
        if self._left is None:
            return want
        self._left -= count
        return min(self._left, want) if self._left > 0 else 0


class ChunkedPictures:
    """The same in chunks (RFC 9112, 7.1): their sizes are taken out, at the price of one more copy."""

    def __init__(self, splitter: Splitter, publish: Take) -> None:
        self._splitter = splitter
        self._publish = publish
        self._buf = bytearray(_READ_BYTES)
        self._view = memoryview(self._buf)
        self._end = 0
        self._left = 0
        self._ended = False
        self.patience_s = 0.0

    def room(self) -> memoryview:
        return self._view[self._end :]

    def take(self, count: int) -> int:
        """Raises TransientError and TooLarge, the former also where a chunk's size should stand and does not."""
        at, end = 0, self._end + count
        while at < end and not self._ended:
            if self._left:
                n = min(self._left, end - at)
                self._feed(self._view[at : at + n])
                at, self._left = at + n, self._left - n
                continue
            line = _LINE.match(self._buf, at, end)
            if line is None:
                break
            at, self._left = line.end(), int(line[1], 16)
            self._ended = self._left == 0
        rest = 0 if self._ended else end - at
        if not self._left and rest > _MAX_LINE_BYTES:
            raise TransientError("a chunk without its size")
        self._buf[:rest] = self._buf[at : at + rest]
        self._end = rest
        return 0 if self._ended else 1

    def _feed(self, data: memoryview) -> None:
        try:
            pictures = self._splitter.feed(data)
        except ValueError as e:
            raise _as_error(e) from None
        if pictures:
            self._publish(pictures, [time.monotonic_ns()] * len(pictures))
        else:
            _hopeless(self._splitter)


def _as_error(e: ValueError) -> Exception:
    return e if isinstance(e, TooLarge) else TransientError(str(e))
