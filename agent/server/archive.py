"""The server's stored items: the originals as files, their index beside them; stored once, for ever known."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from agent.clock import Clock, SystemClock
from agent.durable import sync_folder
from agent.errors import UsageError
from agent.frame import Codec, Item, ItemType
from agent.server import ledger, past, sqlite
from agent.server.ballast import Ballast
from agent.server.digest import Contents, inspect, text
from agent.server.erasure import Erasure, scrub
from agent.server.eventlog import note_item
from agent.server.index import DamagedError, OpenIndex, Rows, UnavailableError
from agent.server.index.rows import Dropped, ItemRow, Span
from agent.server.trouble import Trouble

log = logging.getLogger(__name__)

NAME = re.compile(r"[a-z0-9-]{1,63}\Z")
SPOOL = re.compile(r"[0-9a-f]{16}\Z")
SUFFIX = {ItemType.STILL: "jpg", ItemType.CLIP: "clip", ItemType.EVENT: "json"}
ITEMS_PER_DIR = 1000
INCOMING = "incoming"
GOING = "~"  # in the name of an empty file there: of this item, the file may be gone and the row not yet
_GOING = re.compile(r"([a-z0-9-]{1,63})~([0-9a-f]{16})~([0-9]{1,19})\Z")
MIN_FREE_BYTES = 64 * 1024 * 1024
DAY_NS = 86_400_000_000_000

Key = tuple[str, str, int]
"""Camera, spool, seq: the item's name for ever."""

OnItem = Callable[[Rows, Item, dict[str, Any] | None, int], None]
"""Called within the transaction that stores an event's item, with its record if it is one, and the time."""


class Outcome(Enum):
    """What became of an item. STORED and DUPLICATE are acknowledged; FULL means later; the others never.

    GONE: the camera was deleted while the item was on its way.
    """

    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    DIGEST = "digest"
    TYPE = "type"
    FULL = "full"
    GONE = "gone"

    @property
    def settled(self) -> bool:
        return self in (Outcome.STORED, Outcome.DUPLICATE)


class Archive:
    """Originals under `root/items`, rows in the index.

    An item counts as stored after its file is synced under its name and its row is committed. `min_free_bytes`
    of the disk (64 MiB, or a twentieth of a small disk) stay free: items are refused (FULL) before that.
    `durable=False` leaves out every sync. Raises UsageError (exit 73) where `root` cannot be written.
    """

    @staticmethod
    def there(root: Path) -> bool:
        """Whether `root` is a store, be it one without an index."""
        return (root / "items").is_dir()

    def __init__(
        self,
        root: Path,
        *,
        durable: bool = True,
        clock: Clock | None = None,
        max_bytes: int | None = None,
        min_free_bytes: int | None = None,
        open_index: OpenIndex = sqlite.open_index,
    ) -> None:
        self.root = root
        self.durable = durable
        self._clock = clock or SystemClock()
        self.max_bytes = max_bytes
        self.full = asyncio.Event()
        self.on_item: OnItem | None = None
        self.ballast = Ballast(root)
        self._temporary = map(f"{root}/{INCOMING}/{secrets.token_hex(8)}-{{}}".format, count())
        try:
            self.ballast.drop_if_full()
            (root / "items").mkdir(parents=True, exist_ok=True, mode=0o700)
            (root / INCOMING).mkdir(exist_ok=True, mode=0o700)
            self.index = open_index(root, durable=durable)
            self._erasure = Erasure(root, self.index, f"{INCOMING}/{{}}{GOING}")
            if durable:
                for folder in (root, root.parent):
                    sync_folder(folder)
        except OSError as e:
            raise UsageError(f"cannot write the store {root}: {e.strerror}", 73) from None
        except UnavailableError as e:
            raise unusable(root, e) from None
        self.min_free_bytes = min(MIN_FREE_BYTES, shutil.disk_usage(root).total // 20)
        if min_free_bytes is not None:
            self.min_free_bytes = min_free_bytes
        self.stored = 0
        self.refused = 0
        self._trouble = Trouble(log)

    async def close(self) -> None:
        await self.index.close()
        self.ballast.take_back()

    def keep_ballast(self) -> None:
        """Have the room that the next start needs if the disk is full then."""
        if self.durable:
            self.ballast.take(self.room_bytes())

    async def finish_erasures(self) -> None:
        """Finish those that a crash cut short, and whose rows are gone already."""
        await asyncio.to_thread(self._erasure.clear)
        await scrub(self.index)

    def clear_incoming(self) -> None:
        """Remove what a crash cut short, which was never acknowledged; for who holds the store's lock."""
        for path in (self.root / INCOMING).iterdir():
            if GOING not in path.name:
                path.unlink(missing_ok=True)

    def room_bytes(self) -> int:
        """How much more may be stored before something must go."""
        return max(0, shutil.disk_usage(self.root).free - self.min_free_bytes)

    def path(self, camera: str, spool: str, seq: int, type_: ItemType) -> Path:
        """Where the item's file is; only names that were checked may come here."""
        return Path(self._folder(camera, spool, seq), f"{seq}.{SUFFIX[type_]}")

    def _folder(self, camera: str, spool: str, seq: int) -> str:
        return f"{self.root}/items/{camera}/{spool}/{seq // ITEMS_PER_DIR}"

    async def ingest(self, item: Item, *, camera_id: str | None = None, verified: bool = False) -> Outcome:
        """Verify and store the item; returns when that is durable, never before.

        `camera_id`: of which camera it is; None: of whichever has the name. `verified`: its digest was made of these
        very bytes just now.
        """
        if not (NAME.match(item.camera) and SPOOL.match(item.spool) and 1 <= item.seq <= ledger.MAX_SEQ):
            return self.count(Outcome.TYPE)
        try:
            outcome = await self.index.write(lambda rows: self._store(rows, item, camera_id, verified))
        except (OSError, UnavailableError) as e:
            self._trouble.tell(f"the store {self.root} takes no item now: {e}")
            return self.count(Outcome.FULL)
        self._trouble.over()
        return self.count(outcome)

    async def declare(
        self, camera: str, spool: str, first: int, last: int, why: object, *, camera_id: str | None = None
    ) -> None:
        """The sender gave up these numbers: they will not come, and that is known; `why` in words of its own."""
        now = self._clock.wall_ns()

        def run(rows: Rows) -> None:
            if not _known(rows, camera, camera_id):
                return
            # Of a range of which some was stored, just the rest is missing.
            for a, b in ledger.unsettled(rows, camera, spool, first, last):
                rows.dropped.put(Dropped(camera, spool, a, b, text(why), now))
            ledger.settle(rows, camera, spool, first, last, ledger.near(rows, camera, spool, first, last))

        await self.index.write(run)

    async def acks(self, camera: str, spool: str) -> tuple[int, list[tuple[int, int]]]:
        """(cumulative number, closed ranges above it) of what is durable or declared."""
        return await self.index.read(lambda rows: ledger.acks(rows, camera, spool))

    async def digest(self, camera: str, spool: str, seq: int) -> bytes | None:
        """SHA-256 of the item as it is stored, None when it is not."""
        row = await self.index.read(lambda rows: rows.items.get(camera=camera, spool=spool, seq=seq))
        return row.sha256 if row else None

    def room(self, length: int) -> bool:
        """Whether the disk has place for so many bytes and the reserve."""
        disk = os.statvfs(self.root)
        return disk.f_bavail * disk.f_frsize >= self.min_free_bytes + length

    def count(self, outcome: Outcome) -> Outcome:
        """Count what became of an item, and wake who makes room."""
        if outcome is Outcome.FULL:
            self.full.set()
        self.stored += outcome is Outcome.STORED
        self.refused += not outcome.settled
        return outcome

    def _store(self, rows: Rows, item: Item, camera_id: str | None, verified: bool) -> Outcome:
        if not verified and Item.digest(item.payload) != item.sha256:
            return Outcome.DIGEST
        if not _known(rows, item.camera, camera_id):
            return Outcome.GONE
        near = ledger.near(rows, item.camera, item.spool, item.seq, item.seq)
        if ledger.holds(near, item.seq) and (same := _same(rows, item)) is not None:
            return Outcome.DUPLICATE if same else Outcome.CONFLICT
        try:
            contents = inspect(item)
        except ValueError as e:
            log.warning("%s: item %s-%d refused: %s", item.camera, item.spool, item.seq, e)
            return Outcome.TYPE
        if not self.room(len(item.payload)):
            return Outcome.FULL
        self._write_file(rows, item)
        self.enter(rows, item, contents, self._clock.wall_ns(), near)
        return Outcome.STORED

    def enter(self, rows: Rows, item: Item, contents: Contents, now: int, near: list[Span]) -> None:
        """The rows of an item whose file is there, and of what follows from it: all in the caller's transaction.

        `near`: what `ledger.near` says of its number.
        """
        key = (item.camera, item.spool, item.seq)
        row = ItemRow(*key, item.type, item.event, item.wall_ns, now, item.sha256, len(item.payload))
        if contents.frames and contents.frames[0].codec is not Codec.JPEG:
            first, last = contents.frames[0], contents.frames[-1]
            row = replace(
                row,
                codec=first.codec,
                first_index=first.index,
                last_index=last.index,
                key_index=first.index - first.gop,
            )
        rows.items.add(row)
        ledger.settle(rows, item.camera, item.spool, item.seq, item.seq, near)
        if item.event:
            note_item(rows, item, contents, now)
            if self.on_item is not None:
                self.on_item(rows, item, contents.record, now)

    def _write_file(self, rows: Rows, item: Item) -> None:
        folder = self._folder(item.camera, item.spool, item.seq)
        path = f"{folder}/{item.seq}.{SUFFIX[item.type]}"
        temporary = next(self._temporary)
        try:
            self._write(temporary, item.payload)
            try:
                os.replace(temporary, path)
            except FileNotFoundError:
                self._make_folders(rows, Path(folder))
                os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        rows.dirs.add(folder)

    async def make_beside(self, of: tuple[str, str, str], name: str) -> Path | None:
        """A file beside the items of a run (camera, its id, spool), its name durable; None: the camera is gone.

        It goes with the camera's folder when that is erased. Raises OSError, UnavailableError.
        """
        camera, camera_id, spool = of
        folder = self.root / "items" / camera / spool

        def run(rows: Rows) -> Path | None:
            if not _known(rows, camera, camera_id):
                return None
            self._make_folders(rows, folder)
            (folder / name).touch(mode=0o600)
            rows.dirs.add(str(folder))
            return folder / name

        return await self.index.write(run)

    def _write(self, path: str, payload: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            done = os.write(fd, payload)
            while done < len(payload):
                done += os.write(fd, memoryview(payload)[done:])
            if self.durable:
                os.fsync(fd)
        finally:
            os.close(fd)

    def _make_folders(self, rows: Rows, last: Path) -> None:
        missing = list(takewhile(lambda p: not p.is_dir(), (last, *last.parents)))
        for folder in reversed(missing):
            folder.mkdir(mode=0o700)
            rows.dirs.add(str(folder.parent))

    async def delete(self, keys: Sequence[Key]) -> int:
        """Delete these items with their files; returns how many were there."""
        gone = await self.index.write(lambda rows: sum(self._delete(rows, key) for key in keys))
        await asyncio.to_thread(self._gone, keys)
        return gone

    async def finish_deletions(self) -> int:
        """Delete the rows of files that went before a crash, or before a commit for which the disk had no room."""
        names = (_GOING.match(name) for name in await asyncio.to_thread(os.listdir, self.root / INCOMING))
        keys = [(match[1], match[2], int(match[3])) for match in names if match]
        return await self.delete(keys) if keys else 0

    def _gone(self, keys: Sequence[Key]) -> None:
        for key in keys:
            self._going(key).unlink(missing_ok=True)

    def _going(self, key: Key) -> Path:
        return self.root / INCOMING / GOING.join(map(str, key))

    def _delete(self, rows: Rows, key: Key) -> bool:
        camera, spool, seq = key
        item = rows.items.get(camera=camera, spool=spool, seq=seq)
        if item is None:
            return False
        # The file goes first: a disk that is full takes no commit before there is room. An empty file tells, until the
        # row has followed, that it is to.
        with contextlib.suppress(OSError):
            self._going(key).touch()
        self.path(camera, spool, seq, item.type).unlink(missing_ok=True)
        past.remember(rows, camera, spool, seq, item.sha256)
        rows.items.remove(camera=camera, spool=spool, seq=seq)
        if rows.items.get(camera=camera, spool=spool, event=item.event) is None:
            rows.events.remove(camera=camera, spool=spool, number=item.event)
        return True

    async def erase(self, camera: str) -> None:
        """Delete everything of a camera for which a row of `erasing` says so (`agent.server.erasure`)."""
        if NAME.match(camera):
            await self._erasure.erase(camera)


def knows_nothing(rows: Rows) -> bool:
    """Whether it is an index that no server has used, and that has no camera."""
    return rows.facts.get(key="salt") is None and rows.cameras.count() == 0


def refuse_blank(rows: Rows, root: Path) -> None:
    """Raise DamagedError for a new index beside recordings: it would know nothing of them, and of nobody."""
    if knows_nothing(rows) and any(NAME.match(path.name) for path in (root / "items").glob("*")):
        raise DamagedError("it is empty, and there are recordings")


def unusable(root: Path, e: UnavailableError) -> UsageError:
    """In words for who started it (exit 73)."""
    if isinstance(e, DamagedError):
        way_out = "move its index.db* away, and `camera-agent archive rebuild` makes one from the files"
        return UsageError(f"the index of the store {root} is damaged ({e}); {way_out}", 73)
    return UsageError(f"the index of the store {root} cannot be used now: {e}", 73)


def _known(rows: Rows, camera: str, camera_id: str | None) -> bool:
    """Whether the camera is there, and not another one that has its name since."""
    that = {} if camera_id is None else {"camera_id": camera_id}
    return rows.cameras.count(name=camera, **that) > 0


def _same(rows: Rows, item: Item) -> bool | None:
    """Whether what was stored under the item's number had its content; None when nothing was."""
    there = rows.items.get(camera=item.camera, spool=item.spool, seq=item.seq)
    if there is not None:
        return there.sha256 == item.sha256
    return past.same(rows, item.camera, item.spool, item.seq, item.sha256)
