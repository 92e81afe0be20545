"""One run of a camera that sends JPEGs over HTTP: from its first answer until it is gone."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated

from agent.clock import SystemClock
from agent.errors import PermanentError, TransientError
from agent.frame import Codec, Frame
from agent.media.jpeg import TooLarge
from agent.media.multipart import Splitter
from agent.schema import above, at_most
from agent.sources import Publish
from agent.sources.bodies import ChunkedPictures, Pictures, Take, told_of
from agent.sources.http import Body, Head
from agent.sources.login import Login
from agent.sources.sizes import Sizes
from agent.sources.spread import Spread
from agent.sources.stall import ended_or_stalled
from agent.sources.stream import PERMISSION, Answer, get, refuse_other_media

log = logging.getLogger(__name__)

Seconds = Annotated[float, above(0), at_most(3600)]


def password_of(password: str, file: str) -> str:
    """`password`, or the first line of `file`; raises PermanentError, which names the file."""
    if not file:
        return password
    try:
        with open(file, encoding="utf-8") as f:
            return f.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "not UTF-8 text"
        raise PermanentError(f"password_file {file}: {why}", PERMISSION) from None


class Run:
    """Numbers and times the pictures, and sees when they stop."""

    def __init__(self, label: str, publish: Publish, stall_timeout_s: float) -> None:
        self._label = label
        self._publish = publish
        self._stall_s = stall_timeout_s
        self._clock = SystemClock()
        self._sizes = Sizes()
        self._spread = Spread()
        self._count = 0
        self._came_ns = 0

    def pictures(self, pictures: list[bytes], times: list[int]) -> int:
        """Publish them; another size begins a new run, so that no clip has two.

        `times`: when each arrived, monotonic nanoseconds. Returns until when nobody wants another, 0 for at once.
        """
        until_ns = 0
        ahead_ns = self._clock.wall_ns() - self._clock.monotonic_ns()
        for data, came_ns in zip(pictures, times, strict=True):
            self._count += 1
            self._came_ns = came_ns
            if (index := self._number(data, came_ns)) is None:
                continue
            at_ns = self._spread.at(came_ns)
            until_ns = self._publish(Frame(Codec.JPEG, data, True, at_ns, ahead_ns + at_ns, index)) or 0
        return min(until_ns, self._came_ns + round(self._stall_s * 1e9 / 4))  # what waits is no stall

    def _number(self, data: bytes, came_ns: int) -> int | None:
        before = self._sizes.size
        index = self._sizes.number(data, came_ns)
        size = self._sizes.size
        if before and size and size != before:
            log.info("%s: the pictures are %dx%d from now on: a new run", self._label, *size)
        elif index is None and size and self._sizes.left_out == 1:
            log.warning("%s: sizes go to and fro: pictures other than %dx%d are left out", self._label, *size)
        return index

    async def all(self, answer: Answer, login: Login, timeout_s: float, poll_s: float) -> None:
        """Everything from this answer on; never returns: raises when the camera is gone."""
        still = await self._body(answer)
        clock = asyncio.get_running_loop().time
        due = clock() + poll_s
        while still:
            await asyncio.sleep(due - clock())
            due = max(due + poll_s, clock())
            before = self._count
            await self._body(await get(answer.url, login, timeout_s))
            if self._count == before:
                raise TransientError(f"{answer.url.label}: answered without a picture")
        if not self._count:
            raise TransientError(f"{answer.url.label}: ended without a picture")
        raise TransientError(f"{answer.url.label}: the camera ended the stream after {self._count} pictures")

    async def _body(self, answer: Answer) -> bool:
        """Publish a body's pictures; True when it was a single still."""
        connection, label = answer.connection, answer.url.label
        splitter = Splitter()
        first = self._count
        try:
            refuse_other_media(answer)
            connection.read(_body_of(answer.head, splitter, self.pictures))
            if await ended_or_stalled(connection.ended, lambda: self._came_ns / 1e9, self._stall_s):
                bad = told_of(splitter)
                raise TransientError(f"no picture for {self._stall_s:g} s" + (f" ({bad})" if bad else ""))
            connection.ended.result()
            last = splitter.close()
            self.pictures(last, [self._clock.monotonic_ns()] * len(last))
            if not splitter.frames and splitter.bad_parts:
                raise TransientError(told_of(splitter))
        except TooLarge as e:
            raise self._oversized(label, e) from None
        except TransientError as e:
            raise TransientError(f"{label}: {e}") from None
        finally:
            await connection.close()
            splitter.free()
            log.debug(
                "%s: %d pictures, %d bad parts, %d resyncs, %d wake-ups",
                *(label, splitter.frames, splitter.bad_parts, splitter.resyncs, connection.wakeups),
            )
        return self._count == first + 1 and _is_still(answer.head)

    def _oversized(self, label: str, e: TooLarge) -> TransientError | PermanentError:
        # After good pictures it is one broken header; before any it is what this camera sends.
        return TransientError(f"{label}: {e}") if self._count else PermanentError(f"{label}: {e}")


def _is_still(head: Head) -> bool:
    return not head.media_type.startswith("multipart/")


def _body_of(head: Head, splitter: Splitter, publish: Take) -> Body:
    if head.chunked:
        return ChunkedPictures(splitter, publish)
    # A stream's Content-Length is made up; a still's tells its end where the camera keeps the connection.
    return Pictures(splitter, publish, head.length if _is_still(head) else None)
