"""Segments written over what all have: nothing old comes back. Power cuts at any moment are in `test_power.py`."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.frame import Item, ItemType, Worth
from agent.spool.disk import SMALL_BYTES, Disk, Full
from agent.spool.origin import Origin
from agent.spool.record import BLOCK, HEAD, unpack, up
from agent.spool.segment import Segment
from agent.spool.tombstones import LOOSE_BYTES, Tombstones

QUOTA = SMALL_BYTES + 40 * BLOCK


@pytest.fixture(autouse=True)
def same_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test copies is the card after the power cut, not a copy of it."""
    monkeypatch.setattr(Origin, "_place", lambda self: "here")


def item(disk: Disk, seq: int, size: int = 3000) -> Item:
    data = random.Random(seq).randbytes(size)
    return Item("porch", disk.id, seq, ItemType.CLIP, 1, seq, data, Item.digest(data))


def fill(disk: Disk, first: int, last: int, worth: Worth = Worth.HEAD, *, acked: bool = True) -> None:
    for seq in range(first, last + 1):
        disk.write(item(disk, seq), worth)
        if acked:
            disk.acked["a"].add(seq, seq)
    disk.sync()


def open_disk(folder: Path, quota: int = QUOTA) -> Disk:
    return Disk(folder, quota, ("a",), 0.0)


def as_the_power_left_it(folder: Path) -> Disk:
    """What is in the files now, opened elsewhere."""
    there = folder.parent / "later"
    shutil.copytree(folder, there)
    (there / "acks.json").unlink(missing_ok=True)  # no note of what is over helps
    return open_disk(there)


def ignore_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bug: a record counts in whatever file it is found."""

    monkeypatch.setattr(Segment, "_head", lambda self, fd, at: unpack(os.pread(fd, HEAD.size, at), at))


@pytest.mark.parametrize("written", [0, 1])
@pytest.mark.parametrize("planted", [False, True])
def test_what_lies_behind_the_records_is_no_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int, planted: bool
) -> None:
    disk = open_disk(tmp_path / "spool")
    fill(disk, 1001, 1039)
    before = {p.name for p in tmp_path.glob("spool/*.seg")}
    inodes = {p.stat().st_ino for p in tmp_path.glob("spool/*.seg")}
    disk._segment(Worth.HEAD, 7)  # numbers that rise less than those that lie there: the disk was sick for a while
    if written:
        fill(disk, 7, 7, acked=False)
    (path,) = {p for p in tmp_path.glob("spool/*.seg") if p.name not in before}
    assert path.stat().st_ino in inodes, "not written over another one"
    over = {seq for seq in range(1001, 1040)} - {seq for seq, _ in disk.shelf.kept()}
    if planted:
        ignore_numbers(monkeypatch)
    later = as_the_power_left_it(tmp_path / "spool")
    back = over & {seq for seq, _ in later.shelf.kept()}
    assert bool(back) == planted
    assert planted or not written or later.shelf.read("porch", 7) == item(later, 7)
    later.close(later.next_seq)
    disk.close(1040)


def test_a_write_that_got_half_way_shifts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = open_disk(tmp_path)
    fill(disk, 1, 20)
    whole = os.pwritev

    def half(fd: int, parts: list[bytes], at: int) -> int:
        monkeypatch.setattr(os, "pwritev", whole)
        os.pwrite(fd, b"".join(parts)[:1000], at)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwritev", half)
    fill(disk, 21, 23, acked=False)
    assert [disk.shelf.read("porch", seq) for seq in (21, 22, 23)] == [item(disk, seq) for seq in (21, 22, 23)]
    disk.close(23)


def test_what_is_written_over_while_it_is_read_is_gone_and_not_rotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = open_disk(tmp_path)
    fill(disk, 1, 39)
    first = disk.shelf.kept()[0][0]
    read = Segment.read

    def late(self: Segment, camera: str, seq: int) -> Item:
        fill(disk, 50, 90)
        found = next(p for p in tmp_path.glob("*.seg"))
        self.path = found  # the descriptor that was open sees the same
        return read(self, camera, seq)

    monkeypatch.setattr(Segment, "read", late)
    assert disk.shelf.read("porch", first) is None
    disk.close(90)


def used_in(folder: Path) -> int:
    return int(subprocess.run(["du", "-sB1", folder], capture_output=True, check=True).stdout.split()[0])


def behind_ends_in(folder: Path) -> int:
    """What the file system has set aside behind files' ends: XFS while they grow, exFAT up to whole clusters."""
    return sum(max(s.st_blocks * 512 - up(s.st_size), 0) for s in (p.stat() for p in folder.iterdir()))


def test_the_quota_is_what_the_disk_holds(tmp_path: Path) -> None:
    rng = random.Random(5)
    disk = open_disk(tmp_path, 2 << 20)
    for seq in range(1, 1500):
        disk.write(item(disk, seq, rng.choice([10, 700, 9000])), rng.choice(list(Worth)))
        if rng.random() < 0.5:
            disk.acked["a"].add(seq, seq)
        if seq % 50 == 0:
            disk.sync()
            assert (used := used_in(tmp_path)) - behind_ends_in(tmp_path) <= 2 << 20
    assert used > 1.7 * (1 << 20)
    disk.close(1500)
    if subprocess.run(["stat", "-fc", "%T", tmp_path], capture_output=True).stdout.strip() == b"xfs":
        assert used_in(tmp_path) <= 2 << 20, "a closed file keeps nothing more"


def test_what_can_never_fit_costs_nothing_that_is_there(tmp_path: Path) -> None:
    disk = open_disk(tmp_path)
    fill(disk, 1, 20, acked=False)
    with pytest.raises(Full):
        disk.write(item(disk, 21, QUOTA), Worth.HEAD)
    assert len(disk.shelf.kept()) == 20
    disk.close(21)


def test_a_small_spool_gives_up_small_pieces(tmp_path: Path) -> None:
    disk = open_disk(tmp_path)
    fill(disk, 1, 200, acked=False)
    assert disk.evicted_items == 200 - len(disk.shelf.kept()) and len(disk.shelf.kept()) > 30
    disk.close(201)


def test_tombstones_take_as_many_lines_as_there_are_holes(tmp_path: Path) -> None:
    path = tmp_path / "tombstones"
    stones = Tombstones(path)
    lines = (LOOSE_BYTES + 5000) // len("1000 1000 quota\n")
    for seq in [*range(1, lines, 2), *range(2, lines, 2)]:
        stones._know(seq, seq, "quota")
        stones._unsaved.append(f"{seq} {seq} quota\n")
    stones.save()
    stones.add(lines, lines, "quota")
    stones.save()
    assert path.stat().st_size < 100
    assert Tombstones(path).all == stones.all == [(1, lines, "quota")]
