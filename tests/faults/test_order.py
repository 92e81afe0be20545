"""The order of calls behind an answer: what a strict file system needs, and ext4 forgives."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from agent.frame import ItemType, Worth
from agent.server.archive import Archive
from agent.spool.disk import Disk
from agent.spool.store import Spool
from tests.faults.planted import no_dir_fsync, no_fsync
from tests.faults.points import item, open_archive


class Calls:
    """Records what is made durable: the bytes of files, and the names in folders."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
        self._data: set[int] = set()  # inodes
        self._names: set[tuple[str, int]] = set()  # and the inodes that they lead to
        monkeypatch.setattr(os, "fdatasync", self._sync)
        monkeypatch.setattr(os, "fsync", self._sync)
        if fault == "no-fsync":
            no_fsync()
        if fault == "no-dir-fsync":
            no_dir_fsync()

    def _sync(self, fd: int) -> None:
        found = os.fstat(fd)
        if not stat.S_ISDIR(found.st_mode):
            self._data.add(found.st_ino)
            return
        for path in Path(os.readlink(f"/proc/self/fd/{fd}")).iterdir():
            self._names.add((str(path), path.lstat().st_ino))

    def holds(self, path: Path, top: Path) -> bool:
        """The file and every folder on the way to it would be there."""
        way = [p for p in (path, *path.parents) if p != top and p.is_relative_to(top)]
        return path.stat().st_ino in self._data and all((str(p), p.stat().st_ino) in self._names for p in way)


async def stored(calls: Calls, folder: Path) -> bool:
    archive: Archive = await open_archive(folder)
    outcomes = await asyncio.gather(*(archive.ingest(item(i)) for i in range(6)))
    assert all(o.settled for o in outcomes)
    one = item(0)
    held = [calls.holds(archive.path(one.camera, one.spool, i + 1, one.type), folder) for i in range(6)]
    await archive.close()
    return all(held)


async def spooled(calls: Calls, folder: Path) -> bool:
    spool = Spool("cam1", Disk(folder / "spool", 1 << 20, ("a",), 0.0), ledger=folder / "ledger")
    item_ = spool.put(ItemType.CLIP, 1, 0, b"x" * 1000, Worth.HEAD)
    while spool.fresh:
        await asyncio.sleep(0.005)
    assert f" {item_.seq} " in (folder / "ledger").read_text()
    names = [*(folder / "spool").glob("*.seg"), folder / "spool" / "spool.json", folder / "spool" / "mark"]
    held = [calls.holds(path, folder) for path in names]
    await spool.close()
    return all(held)


@pytest.mark.parametrize("fault", ["", "no-fsync", "no-dir-fsync"])
@pytest.mark.parametrize("side", [stored, spooled])
async def test_before_an_answer_bytes_and_names_last(  # type: ignore[no-untyped-def]
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side, fault: str
) -> None:
    calls = Calls(monkeypatch, fault)
    assert await side(calls, tmp_path) == (fault == ""), fault
