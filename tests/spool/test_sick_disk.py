"""Disks that fail, forget and lie: nothing that was durable is lost, nothing that is not is believed."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.errors import TransientError, UsageError
from agent.frame import Item, ItemType, Worth
from agent.spool.disk import SMALL_BYTES, Disk
from agent.spool.origin import Origin
from agent.spool.record import BLOCK, HEAD, pack, unpack
from agent.spool.segment import Rotten, Segment, SyncError

QUOTA = SMALL_BYTES + 320 * BLOCK  # a segment of small items is 21 blocks


@pytest.fixture(autouse=True)
def same_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Origin, "_place", lambda self: "here")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = open_disk(tmp_path)
    yield disk
    disk._lock_file.close()


def open_disk(folder: Path) -> Disk:
    return Disk(folder, QUOTA, ("a",), 0.0)


def again(disk: Disk) -> Disk:
    """The agent was killed, and starts again."""
    disk._lock_file.close()
    return open_disk(disk.folder)


def item(disk: Disk, seq: int, payload: bytes = b"") -> Item:
    data = payload or random.Random(seq).randbytes(3000)
    return Item("porch", disk.id, seq, ItemType.CLIP, 1, seq, data, Item.digest(data))


def write(disk: Disk, *seqs: int, worth: Worth = Worth.HEAD) -> None:
    for seq in seqs:
        disk.write(item(disk, seq), worth)


def files(disk: Disk) -> list[Path]:
    return sorted(disk.folder.glob("*.seg"))


def fail(monkeypatch: pytest.MonkeyPatch, name: str, error: int, when: Callable[..., bool], times: int = 1) -> None:
    """The next calls of this kind fail, in the kernel's words."""
    sound, left = getattr(os, name), [times]

    def sick(*args: Any, **more: Any) -> Any:
        if left[0] and when(*args):
            left[0] -= 1
            raise OSError(error, os.strerror(error))
        return sound(*args, **more)

    monkeypatch.setattr(os, name, sick)


def any_call(*_: Any) -> bool:
    return True


def is_folder(fd: Any) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def all_right(disk: Disk, *seqs: int) -> None:
    assert [seq for seq, _ in disk.shelf.kept()] == list(seqs)
    assert [seq for seq, _ in disk.shelf.sizes()] == list(seqs), "in one place only"
    assert [disk.shelf.read("porch", seq) for seq in seqs] == [item(disk, seq) for seq in seqs]
    assert disk.shelf.bytes == sum(p.stat().st_size for p in files(disk))


def test_what_was_not_believed_yields_to_what_was_written_again(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    write(disk, 1, 2)
    disk.sync()
    write(disk, 3, 4)
    fail(monkeypatch, "fdatasync", errno.EIO, any_call)
    fail(monkeypatch, "ftruncate", errno.EIO, any_call)
    with pytest.raises(SyncError):
        disk.sync()
    disk.abandon()
    (path,) = files(disk)
    with open(path, "r+b") as f:
        f.seek(2 * BLOCK + 1000)
        f.write(b"the disk never got these bytes")
    write(disk, 3, 4)
    disk.sync()
    all_right(disk := again(disk), 1, 2, 3, 4)
    disk.close(4)


def test_one_segment_that_cannot_be_synced_doubles_nothing_of_the_others(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(disk, 1, worth=Worth.HEAD)
    write(disk, 2, worth=Worth.BODY)
    fail(monkeypatch, "fdatasync", errno.EIO, lambda fd: "body" in os.readlink(f"/proc/self/fd/{fd}"))
    with pytest.raises(SyncError):
        disk.sync()
    disk.abandon()
    assert (disk.knows(1), disk.knows(2)) == (True, False)
    write(disk, 2)
    disk.sync()
    all_right(disk, 1, 2)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_sync_that_failed_is_not_tried_again_and_believed(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    write(disk, *range(1, 22))  # the next one needs another segment
    fail(monkeypatch, "fdatasync", error, any_call)
    with pytest.raises(SyncError):
        write(disk, 22)
    disk.abandon()
    assert not any(disk.knows(seq) for seq in range(1, 23))


def test_no_item_counts_before_its_file_has_a_name(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    write(disk, 1)
    fail(monkeypatch, "fsync", errno.EIO, is_folder)
    with pytest.raises(SyncError):
        disk.sync()
    disk.abandon()
    assert disk.shelf.kept() == [] == files(disk)


def fill_and_acknowledge(disk: Disk) -> int:
    """The next segment has to be written over another one; returns the next number."""
    seq = 1
    while not disk._lack(disk._segment_bytes) or len(disk._open[Worth.HEAD].seqs) < 21:
        write(disk, seq)
        disk.acked["a"].add(seq, seq)
        seq += 1
    disk.sync()
    return seq


@pytest.mark.parametrize("call", ["open", "rename", "fsync"])
def test_the_quota_counts_what_could_not_be_written_over(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    seq = fill_and_acknowledge(disk)
    when = {
        "open": lambda path, flags, *_: str(path).endswith(".seg") and flags & os.O_WRONLY,
        "rename": any_call,
        "fsync": is_folder,
    }
    before = {p.stat().st_ino for p in files(disk)}
    if call == "fsync":
        disk.acks.save()  # so that the folder of the segments is the next to be synced
    fail(monkeypatch, call, errno.EIO, when[call])
    with pytest.raises(OSError):
        write(disk, *range(seq + 1, seq + 40))
    disk.abandon()
    held = sum(s.held for s in disk.shelf.segments)
    assert disk.shelf.bytes == held == sum(p.stat().st_size for p in files(disk))
    assert len(files(disk)) >= len(before) - 1
    write(disk, *range(seq + 50, seq + 90))
    assert disk.shelf.bytes == sum(p.stat().st_size for p in files(disk)) <= QUOTA


def test_what_cannot_be_deleted_counts(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    write(disk, *range(1, 301))
    fail(monkeypatch, "unlink", errno.EIO, any_call)
    with pytest.raises(OSError):
        write(disk, *range(301, 350))
    disk.abandon()
    assert disk.shelf.bytes == sum(p.stat().st_size for p in files(disk))
    assert not set(disk.tombstones.numbers.all()) - {(1, 21)}


def crafted(disk: Disk, at: int) -> bytes:
    """A picture made by somebody who knows the format, the segment and the place, and not the spool."""
    blocks = []
    for i in range(1, 4):
        false = Item("porch", "00" * 8, 900 + i, ItemType.STILL, 0, 0, b"false", Item.digest(b"false"))
        blocks.append((pack(false, Worth.HEAD, 1, at + i * BLOCK) + b"false").ljust(BLOCK, b"\0"))
    return bytes(BLOCK - HEAD.size) + b"".join(blocks)


@pytest.mark.parametrize("planted", [False, True])
def test_no_picture_passes_for_a_record(disk: Disk, monkeypatch: pytest.MonkeyPatch, planted: bool) -> None:
    write(disk, 1)
    disk.write(item(disk, 2, crafted(disk, BLOCK)), Worth.HEAD)
    write(disk, 3)
    disk.sync()
    damage(files(disk)[0], BLOCK + 20)
    if planted:
        monkeypatch.setattr(Segment, "_head", lambda self, fd, at: unpack(os.pread(fd, HEAD.size, at), at))
    disk = again(disk)
    assert [seq for seq, _ in disk.shelf.kept()] == ([1, 901, 902, 903] if planted else [1, 3])
    if not planted:
        assert disk.tombstones.all[0] == (2, 2, "restart")
    disk.close(3)


def test_a_copy_of_a_record_elsewhere_is_none(disk: Disk) -> None:
    """The spool's own bytes, as a picture: a folder of files is a source too."""
    write(disk, 5)
    disk.sync()
    own = files(disk)[0].read_bytes()
    disk.write(item(disk, 6, bytes(BLOCK - HEAD.size) + own), Worth.HEAD)
    disk.sync()
    for at in (0, BLOCK):
        damage(files(disk)[0], at + 20)
    disk = again(disk)
    assert disk.shelf.kept() == []
    disk.close(6)


def damage(path: Path, at: int) -> None:
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(b"ROT!")


def test_blocks_that_cannot_be_read_cost_what_lay_there(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    write(disk, 1, 2, 3, 4)
    disk.sync()
    fail(monkeypatch, "pread", errno.EIO, lambda fd, size, at: at <= 2 * BLOCK < at + size, times=100)
    disk = again(disk)
    all_right_but = [seq for seq, _ in disk.shelf.kept()]
    assert all_right_but == [1, 2, 4]
    assert (3, 3, "restart") in disk.tombstones.all
    disk.close(4)


def test_an_item_that_cannot_be_read_now_is_not_given_up(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    write(disk, 1, 2)
    disk.sync()
    is_segment: Callable[..., bool] = lambda path, *_: str(path).endswith(".seg")  # noqa: E731
    fail(monkeypatch, "open", errno.EMFILE, is_segment)
    with pytest.raises(TransientError, match="Too many open files"):
        disk.shelf.read("porch", 1)
    fail(monkeypatch, "pread", errno.EIO, any_call)
    with pytest.raises(Rotten, match="Input/output error"):
        disk.shelf.read("porch", 1)
    all_right(disk, 1, 2)


def test_a_head_of_another_item_tells_nothing_of_this_one(disk: Disk) -> None:
    write(disk, 1, 2)
    disk.sync()
    assert disk.shelf.wall_ns(2) == 2
    data = files(disk)[0].read_bytes()
    files(disk)[0].write_bytes(data[:BLOCK] * 2)
    assert disk.shelf.wall_ns(2) is None
    with pytest.raises(Rotten):
        disk.shelf.read("porch", 2)


@pytest.mark.parametrize("rot", [b"", b"\xff\xfe", b'{"spool": 7}', None])
def test_who_the_spool_is_stands_in_every_record(disk: Disk, rot: bytes | None) -> None:
    write(disk, 1, 2)
    disk.sync()
    rotten(disk.folder / "spool.json", rot)
    disk, before = again(disk), disk
    assert disk.id == before.id
    all_right(disk, 1, 2)
    disk.close(2)


@pytest.mark.parametrize("rot", [b"", b"\xff\xfe", b"12.", None])
def test_without_its_mark_a_spool_uses_no_number_again(disk: Disk, rot: bytes | None) -> None:
    write(disk, 1, 2)
    disk.sync()
    rotten(disk.folder / "mark", rot)
    used = disk.mark  # up to here numbers may have been sent, from memory
    disk = again(disk)
    assert disk.next_seq > used
    all_right(disk, 1, 2)
    disk.close(disk.next_seq)


@pytest.mark.parametrize("name", ["tombstones", "acks.json", "place", "mark", "spool.json"])
def test_no_rotten_file_keeps_a_spool_from_starting(disk: Disk, name: str) -> None:
    write(disk, 1, 2)
    disk.sync()
    disk.close(2)
    rotten(disk.folder / name, bytes(range(256)) * 16)
    disk = open_disk(disk.folder)
    all_right(disk, 1, 2)
    disk.close(disk.next_seq)


def rotten(path: Path, data: bytes | None) -> None:
    path.unlink() if data is None else path.write_bytes(data)


def test_tombstones_survive_half_a_line(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    stones = disk.tombstones
    stones.add(2, 2, "corrupt")
    stones.save()
    with open(disk.folder / "tombstones", "a") as f:
        f.write("5 60 quo")
    assert stones.size == len("2 2 corrupt\n")
    disk.close(100)
    disk = open_disk(disk.folder)
    assert disk.tombstones.all == [(1, 1, "restart"), (2, 2, "corrupt"), (3, 99, "restart")]
    disk.close(100)
    assert (disk.folder / "tombstones").read_text() == "1 1 restart\n2 2 corrupt\n3 99 restart\n"


def test_a_spool_of_another_version_is_not_touched(disk: Disk) -> None:
    write(disk, 1)
    disk.close(1)
    name = disk.folder / "spool.json"
    name.write_text(name.read_text().replace("2}", "3}"))
    before = files(disk)[0].read_bytes()
    with pytest.raises(UsageError, match="version 3"):
        open_disk(disk.folder)
    assert files(disk)[0].read_bytes() == before


def test_a_disk_that_others_filled_takes_what_is_delivered_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [50]
    usage = lambda path: shutil._ntuple_diskusage(100 << 30, 0, free[0] << 30)  # type: ignore[attr-defined]  # noqa: E731
    monkeypatch.setattr(shutil, "disk_usage", usage)
    disk = Disk(tmp_path, QUOTA, ("a",), 0.05)
    write(disk, *range(1, 211))  # ten segments
    disk.sync()
    disk.acked["a"].add(1, 63)
    free[0] = 3
    write(disk, 301)
    assert [seq for seq, _ in disk.shelf.kept()] == [*range(64, 211), 301], "the delivered ones"
    write(disk, *range(302, 364))
    assert disk.shelf.kept()[0][0] == 64, "in the place of these"
    before = disk.shelf.bytes
    write(disk, *range(364, 384))
    assert [seq for seq, _ in disk.shelf.kept()] == [*range(85, 211), *range(301, 384)], "the oldest, for what comes"
    write(disk, *range(384, 421))
    assert disk.shelf.bytes <= before
    free[0] = 50
    write(disk, *range(421, 521))
    assert disk.shelf.bytes > before
    disk.close(520)
