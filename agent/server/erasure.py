"""A camera that is deleted leaves nothing: its rows go a few at a time, then its files, then what the index kept."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.server.index import Below, Index, Rows, Table
from agent.server.index.rows import Fact

BATCH = 1000
ERASED = "erased"  # of what is in there, nothing is known any more but that it must go
FOLDERS = ("items", "parts")
SCRUB = "scrub"


class Erasure:
    """Other cameras' items are stored meanwhile: no transaction is long, and files go in another thread.

    A row of `erasing` says that there is something to do, so it may be begun again after a crash, and by two
    processes at once: whoever is done first takes the row away, and what comes later under that name is left alone.
    """

    def __init__(self, root: Path, index: Index, markers: str) -> None:
        """`markers`: how the paths of a camera's files beside its folders begin, to be formatted with its name."""
        self._root = root
        self._index = index
        self._markers = markers

    async def erase(self, camera: str) -> None:
        """Returns when neither its name nor its bytes are found in the store. Raises OSError where that fails."""
        while await self._index.write(lambda rows: self._step(rows, camera)):
            pass
        await asyncio.to_thread(self.clear)
        await scrub(self._index)

    def clear(self) -> None:
        """Remove the files of cameras whose rows are gone. Blocks."""
        with suppress(FileNotFoundError):
            for entry in list(os.scandir(self._root / ERASED)):
                shutil.rmtree(entry.path, onerror=_unless_gone)

    def _step(self, rows: Rows, camera: str) -> bool:
        """Some of the rows, in the end the last of them with the folders' names; True: there are more."""
        if rows.erasing.get(camera=camera) is None:
            return False
        rows.settled.remove(camera=camera)  # first: a check of the store misses nothing that is not promised
        if _some(rows.items, "seq", camera) or _some(rows.events, "number", camera):
            return True
        of_cameras: tuple[Table[Any], ...] = (
            *(rows.dropped, rows.past, rows.notes),
            *(rows.grants, rows.links, rows.tokens, rows.shares),
        )
        for table in of_cameras:
            table.remove(camera=camera)
        for path in self._files(camera):
            path.unlink(missing_ok=True)
        for folder in FOLDERS:
            self._put_away(rows, folder, camera)
        leave_no_copy(rows)
        rows.erasing.remove(camera=camera)
        return False

    def _files(self, camera: str) -> Iterator[Path]:
        folder, _, begin = self._markers.format(camera).rpartition("/")
        names = os.listdir(self._root / folder)
        return (self._root / folder / name for name in names if name.startswith(begin))

    def _put_away(self, rows: Rows, folder: str, camera: str) -> None:
        """Under a name that tells nothing, at once however much it is."""
        away = self._root / ERASED
        away.mkdir(exist_ok=True, mode=0o700)
        with suppress(FileNotFoundError):
            os.rename(self._root / folder / camera, away / secrets.token_hex(8))
            rows.dirs |= {str(self._root), str(self._root / folder), str(away)}


def leave_no_copy(rows: Rows) -> None:
    """What this transaction deletes shall not be found in the index's files either, once `scrub` was called."""
    rows.facts.put(Fact(SCRUB, b"1"))


async def scrub(index: Index) -> None:
    """Once for all that was deleted so, also before a crash."""
    if await index.read(lambda rows: rows.facts.get(key=SCRUB)) is not None:
        await index.scrub()
        await index.write(lambda rows: rows.facts.remove(key=SCRUB))


def _some(table: Table[Any], number: str, camera: str) -> bool:
    """Remove the camera's first rows, of one spool; whether there were any."""
    found = table.find(BATCH, camera=camera)
    if found:
        spool = found[0].spool
        last = max(getattr(row, number) for row in found if row.spool == spool)
        table.remove(camera=camera, spool=spool, **{number: Below(last + 1)})
    return bool(found)


def _unless_gone(_: Any, path: str, info: Any) -> None:
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]
