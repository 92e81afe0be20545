"""Large items are written around the page cache where that works, and otherwise as ever."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.frame import Item, ItemType, Worth
from agent.spool.direct import CHUNK, LARGE, Direct
from agent.spool.record import BLOCK
from agent.spool.segment import Segment

AT = 3 * BLOCK


def parts(size: int) -> list[bytes]:
    """A head, a payload and zeros, whole blocks together."""
    return [b"head" * 20, random.Random(size).randbytes(size), bytes(-(80 + size) % BLOCK)]


@pytest.fixture
def fd(tmp_path: Path) -> int:
    """A file that begins with AT bytes; skips where it cannot be written around the page cache."""
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.pwrite(opened, b"\1" * AT, 0)
    flags = fcntl.fcntl(opened, fcntl.F_GETFL)
    try:
        fcntl.fcntl(opened, fcntl.F_SETFL, flags | os.O_DIRECT)
    except OSError as e:
        pytest.skip(f"NO DIRECT WRITES: the file system of {tmp_path} takes none ({e.strerror})")
    fcntl.fcntl(opened, fcntl.F_SETFL, flags)
    return opened


def there(fd: int) -> bytes:
    assert os.pread(fd, AT, 0) == b"\1" * AT
    return os.pread(fd, 1 << 24, AT)


def resident(fd: int, blocks: int) -> int:
    """How many of so many pages, from AT on, are in the page cache (mincore(2))."""
    with mmap.mmap(fd, AT + blocks * BLOCK) as pages:
        found = (ctypes.c_ubyte * (AT // BLOCK + blocks))()
        hold = (ctypes.c_char * len(pages)).from_buffer(pages)
        assert ctypes.CDLL(None).mincore(ctypes.byref(hold), ctypes.c_size_t(len(pages)), found) == 0
        del hold
    return sum(n & 1 for n in found[AT // BLOCK :])


@pytest.mark.parametrize("size", [LARGE, CHUNK - 80, CHUNK + 1, 530_001, 3_000_000])
def test_what_is_large_is_written_whole(fd: int, size: int) -> None:
    want = b"".join(parts(size))
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    assert Direct().write(fd, parts(size), AT) == len(want)
    assert fcntl.fcntl(fd, fcntl.F_GETFL) == flags
    assert there(fd) == want


def test_what_is_large_leaves_nothing_in_the_cache(fd: int, tmp_path: Path) -> None:
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True).stdout
    if kind.strip() not in ("ext2/ext3", "xfs", "btrfs"):
        pytest.skip(f"{kind.strip()} may keep pages all the same")
    written = Direct().write(fd, parts(1_000_000), AT)
    assert resident(fd, written // BLOCK) == 0
    os.pwritev(fd, parts(1_000_000), AT)
    assert resident(fd, written // BLOCK) == written // BLOCK, "else this test could not fail"


def test_what_is_small_is_left_to_the_cache(fd: int) -> None:
    assert Direct().write(fd, parts(LARGE - 4200), AT) == 0
    assert there(fd) == b""


def refuse(monkeypatch: pytest.MonkeyPatch, module: object, name: str, call: Callable[..., int], nth: int) -> list[int]:
    """From the nth time on `name` does as `call`; how often it was called."""
    sound, seen = getattr(module, name), [0]

    def once(*args: object) -> int:
        seen[0] += 1
        return int(call(*args) if seen[0] >= nth else sound(*args))

    monkeypatch.setattr(module, name, once)
    return seen


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("error", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_takes_no_such_writes_is_not_asked_again(
    fd: int, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def no(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    direct = Direct()
    seen = refuse(monkeypatch, os, "pwrite", no, 2)
    assert direct.write(fd, parts(3 * CHUNK), AT) == CHUNK, "the rest is written otherwise"
    assert there(fd) == b"".join(parts(3 * CHUNK))[:CHUNK]
    assert direct.write(fd, parts(3 * CHUNK), AT) == 0 and seen == [2]


def test_a_full_disk_is_an_error_and_the_next_write_is_as_before(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    direct, flags = Direct(), fcntl.fcntl(fd, fcntl.F_GETFL)
    with monkeypatch.context() as patch:
        refuse(patch, os, "pwrite", full, 2)
        with pytest.raises(OSError, match="No space"):
            direct.write(fd, parts(3 * CHUNK), AT)
    assert fcntl.fcntl(fd, fcntl.F_GETFL) == flags
    assert direct.write(fd, parts(3 * CHUNK), AT) == len(b"".join(parts(3 * CHUNK)))


@pytest.mark.parametrize("blocks", [0, 3])
def test_what_was_not_written_whole_is_told(fd: int, monkeypatch: pytest.MonkeyPatch, blocks: int) -> None:
    sound = os.pwrite

    def short(f: int, data: bytes, at: int) -> int:
        monkeypatch.setattr(os, "pwrite", sound)
        return sound(f, data[: blocks * BLOCK], at)

    refuse(monkeypatch, os, "pwrite", short, 2)
    assert Direct().write(fd, parts(3 * CHUNK), AT) == CHUNK + blocks * BLOCK
    assert there(fd) == b"".join(parts(3 * CHUNK))[: CHUNK + blocks * BLOCK]


@pytest.mark.parametrize(
    ("call", "nth", "size"), [("pwrite", 2, 3 * CHUNK), ("pwrite", 1, LARGE), ("pwritev", 1, 9000)]
)
def test_the_rest_of_what_was_not_written_whole_is_written_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int, size: int
) -> None:
    segment = Segment(tmp_path / Segment.name(1, Worth.HEAD), 1, Worth.HEAD, "ab" * 8, Direct())
    segment.create()
    data = random.Random(size).randbytes(size)
    items = [Item("porch", "ab" * 8, seq, ItemType.CLIP, 1, seq, data, Item.digest(data)) for seq in (1, 2)]
    segment.append(items[0])
    sound: Callable[..., int] = getattr(os, call)

    def short(f: int, data: object, at: int) -> int:
        monkeypatch.setattr(os, call, sound)
        return os.pwrite(f, (b"".join(data) if isinstance(data, list) else data)[:BLOCK], at)

    refuse(monkeypatch, os, call, short, nth)
    segment.append(items[1])
    segment.close()
    assert [segment.read("porch", seq) for seq in (1, 2)] == items
