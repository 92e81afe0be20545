"""Pictures that were answered and are no clip yet: a file beside the camera's items, one write and one sync each.

A clip of its own for each picture costs a new file, its name and a transaction, each with a sync. Here a picture is
appended to a file whose blocks are mostly there already; what came within a second becomes one clip of the archive.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.frame import Frame, Item
from agent.media import clip
from agent.server.archive import Archive, Outcome
from agent.server.index import UnavailableError
from agent.server.ingest.journalfile import HEAD, NAMES, Half, parse, read, remove
from agent.server.ingest.later import Later
from agent.server.ingest.scribe import Scribe
from agent.server.trouble import Trouble, seen
from agent.supervise import backoff_s

log = logging.getLogger(__name__)

LARGE_BYTES = 1024 * 1024
"""Such a picture is better an item of its own: it would be written twice, and its sync is the least of it."""
YOUNG_S, YOUNG_CLIP_S, CLIP_S = 2.0, 0.25, 1.0
"""As agents cut their events: short clips while one is young. Its first picture waits for no other."""
WAIT_S = 10.0
REST_S = 60.0
RNG = random.Random()


class Journal:
    """One run of one camera: pictures in, clips out.

    One file is filled while a clip is made of the other, at most one at a time: behind a clip that takes long, or that
    the archive refuses and is tried again, the next one grows. Two files of 4 MiB are the bound: who brings more waits
    until one is free, WAIT_S at most. While nothing comes there are none.
    """

    def __init__(
        self,
        archive: Archive,
        scribe: Scribe,
        of: tuple[str, str, str],
        number: Callable[[], int],
        hand: Callable[[Item], Awaitable[Outcome]],
    ) -> None:
        """`of`: the camera, its id, the run; `number` gives a clip's number when it begins; `hand` stores it."""
        self._archive = archive
        self._scribe = scribe
        self._camera, self._camera_id, self._spool = of
        self._number = number
        self._hand = hand
        self._names = list(NAMES)
        self._free: list[Half] = []
        self._filling: Half | None = None
        self._full: list[Half] = []  # to become clips, the oldest first
        self._event, self._since_s = 0, 0.0
        self._due, self._idle = Later(self._turn), Later(self._rest)
        self._maker: asyncio.Task[None] | None = None
        self._refused = False
        self._opening = asyncio.Lock()
        self._changed = asyncio.Event()  # a file is free, or a clip was refused
        self._end: Outcome | None = None  # what whoever comes now is told
        self._trouble = Trouble(log)

    async def put(self, frame: Frame, event: int, *, truncated: bool) -> Outcome:
        """The picture is durable when this returns STORED; within a second or so it is in the archive."""
        payload = clip.pack((frame,), truncated=truncated)
        length = HEAD.size + len(payload)
        if self._end is None and not self._archive.room(length):
            return self._archive.count(Outcome.FULL)
        half = self._half(event, length)
        if half is None and self._end is None:
            try:
                async with asyncio.timeout(WAIT_S):
                    half = await self._wait(event, length)
            except TimeoutError:
                return self._archive.count(Outcome.FULL)
            except (OSError, UnavailableError) as e:
                self._trouble.tell(f"{self._camera}: pictures are refused, there is no file for them: {e}")
                return self._archive.count(Outcome.FULL)
        if half is None or not await self._scribe.write(half, half.record(payload)):
            return self._archive.count(self._end or Outcome.FULL)
        return self._end if self._end is Outcome.GONE else Outcome.STORED

    @property
    def pending(self) -> bool:
        """Whether something is no clip yet, and was not refused."""
        return (self._filling is not None or self._maker is not None) and not self._refused

    async def flush(self) -> None:
        """Wait until what came until now is in the archive, or was refused by it."""
        await self._made()
        if self._maker is None:
            self._cut()
            await self._made()

    async def close(self) -> None:
        """The same; what was refused stays for the next start."""
        self._end = self._end or Outcome.FULL
        await self.flush()
        await asyncio.gather(*self.stop(self._end))

    def stop(self, end: Outcome) -> list[asyncio.Future[None]]:
        """Let go of the files; the answer: when they are closed. Whoever comes now is told `end`.

        FULL: what is no clip yet stays for the next start. GONE: the camera is deleted, and all goes with it.
        """
        self._end, keep = end, end is not Outcome.GONE
        self._due.end()
        self._idle.end()
        if self._maker is not None:
            self._maker.cancel()
        full = [*self._full, self._filling] if self._filling is not None else self._full
        closed = [self._scribe.let_go(half, keep=keep) for half in full]
        closed += [self._scribe.let_go(half) for half in self._free]
        self._free, self._full, self._filling = [], [], None
        self._changed.set()
        return closed

    def _half(self, event: int, length: int) -> Half | None:
        """The file for one more picture, if there is one now."""
        if (half := self._filling) is not None:
            if half.takes(event, length):
                return half
            self._cut()
        if not self._free:
            return None
        self._filling = half = self._free.pop()
        half.begin(self._number(), event)
        self._due.put_off(self._clip_s(event))
        self._idle.put_off(REST_S)
        return half

    async def _wait(self, event: int, length: int) -> Half | None:
        """Wait for one; None: the journal ends. Raises OSError, UnavailableError."""
        while self._end is None:
            await self._open()
            if (half := self._half(event, length)) is not None:
                return half
            if not self._names:
                self._changed.clear()
                await self._changed.wait()
        return None

    async def _open(self) -> None:
        """Have one file more, unless both are in use."""
        async with self._opening:
            if self._free or self._filling is not None or not self._names:
                return
            of = (self._camera, self._camera_id, self._spool)
            path = await self._archive.make_beside(of, self._names[0])
            if path is None:
                self.stop(Outcome.GONE)
            elif self._end is None:
                self._free.append(Half(path, os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)))
                del self._names[0]

    def _clip_s(self, event: int) -> float:
        """How long a clip that begins now may get."""
        now_s = asyncio.get_running_loop().time()
        if event != self._event:
            self._event, self._since_s = event, now_s
            return 0.0
        return YOUNG_CLIP_S if now_s - self._since_s < YOUNG_S else CLIP_S

    def _turn(self) -> None:
        """The clip that grows is long enough; behind another one it grows on."""
        if self._maker is not None:
            self._due.put_off(YOUNG_CLIP_S)
        else:
            self._cut()

    def _cut(self) -> None:
        half, self._filling = self._filling, None
        if half is not None:
            self._full.append(half)
        if self._full and self._maker is None:
            self._maker = asyncio.ensure_future(self._make())
            self._maker.add_done_callback(seen)

    async def _made(self) -> None:
        while self._maker is not None and not self._refused:
            self._changed.clear()
            await self._changed.wait()

    async def _make(self) -> None:
        """Clips of what is full, one after the other."""
        failures = 0
        try:
            while self._full:
                outcome = await self._store(self._full[0])
                if outcome is Outcome.GONE:
                    self.stop(Outcome.GONE)
                elif outcome is Outcome.FULL:
                    failures, self._refused = failures + 1, True
                    self._changed.set()
                    await asyncio.sleep(backoff_s(failures, RNG))
                else:
                    failures, self._refused = 0, False
                    self._trouble.over()
                    self._free_again(self._full.pop(0))
        finally:
            self._maker, self._refused = None, False
            self._changed.set()

    async def _store(self, half: Half) -> Outcome:
        async with self._scribe.together:
            try:
                item = await self._scribe.item(half, self._camera, self._spool)
                outcome = Outcome.STORED if item is None else await self._hand(item)
            except Exception as e:  # they were answered: whatever it is, they are tried again
                self._trouble.tell(f"{self._camera}: pictures that were answered wait in {half.path}: {e!r}")
                return Outcome.FULL
        if outcome is Outcome.FULL:
            self._trouble.tell(f"{self._camera}: pictures that were answered wait: the archive takes none now")
        elif not outcome.settled and outcome is not Outcome.GONE:
            log.error("%s: pictures that were answered are not stored: %s", self._camera, outcome.value)
        return outcome

    def _free_again(self, half: Half) -> None:
        if half.broken:
            self._drop(half)
        else:
            self._free.append(half)
            self._changed.set()

    def _rest(self) -> None:
        """Nothing came for a while."""
        if self._filling is not None or self._full:
            self._idle.put_off(REST_S)
            return
        while self._free:
            self._drop(self._free.pop())

    def _drop(self, half: Half) -> None:
        """Then its name is there for another file."""

        def dropped(_: asyncio.Future[None]) -> None:
            self._names.append(half.path.name)
            self._changed.set()

        self._scribe.let_go(half).add_done_callback(dropped)


async def take_over(path: Path, hand: Callable[[Item], Awaitable[Outcome]]) -> bool:
    """Make a clip of what another run left in the file, and remove it; False: the archive does not take it now.

    What was stored before is known by its number. Raises OSError.
    """
    written = parse(await asyncio.to_thread(read, path))
    if written is not None:
        camera, spool = path.parts[-3:-1]
        if await hand(await asyncio.to_thread(written.item, camera, spool)) is Outcome.FULL:
            return False
    await asyncio.to_thread(remove, path)
    return True
