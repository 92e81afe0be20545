"""Journals of uploads where something is in their way: another process, the disk, the archive, damage, or nobody."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from agent.clock import SystemClock
from agent.frame import Item, ItemType
from agent.media import clip
from agent.server import upkeep
from agent.server.archive import Archive, Outcome
from agent.server.cameras import Cameras
from agent.server.fsck import check
from agent.server.index import UnavailableError
from agent.server.ingest import desk, journalfile, pictures
from agent.server.ingest import journal as journals
from agent.server.ingest.journalfile import HEAD, Half, left_in
from agent.server.news import News
from tests.server.conftest import Start
from tests.server.journals import RUN, Bench, put
from tests.server.pictures import frame, item, jpeg, settled
from tests.server.test_ways_in import stored


def soon(*_: object) -> float:
    return 0.01


def of_journal(fd: int) -> bool:
    return "journal-" in os.readlink(f"/proc/self/fd/{fd}")


async def added_anew(store: Path, *names: str) -> None:
    """What `virtual delete` and `virtual add` do."""
    archive, clock = Archive(store, durable=False), SystemClock()
    cameras = Cameras(archive, News(clock), clock)
    await cameras.load()
    for name in names:
        await cameras.remove(name)
        await cameras.add(name)
    await archive.close()


async def test_a_camera_that_another_process_added_anew_gets_nothing_of_the_former(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "NOTICE_S", 600.0)
    server = await start(notes={})
    await server.issue_keys("porch")
    camera = server._cameras.get("porch")
    assert camera is not None
    upload = server._desk.of(camera).upload
    for n in range(2):
        assert (await upload(jpeg(n)))[0] is Outcome.STORED
    await server.issue_keys("gate")
    gate = server._cameras.get("gate")
    assert gate is not None
    await added_anew(server.settings.store_path, "porch", "gate")
    await upload(jpeg(2))
    await settled(server)
    assert (await upload(jpeg(3)))[0] is Outcome.GONE
    assert (await server._desk.of(gate).upload(jpeg(0)))[0] is Outcome.GONE, "also one that had no files yet"
    assert await server._intake.take(camera, item("porch", RUN, 1, jpeg(4))) is Outcome.GONE
    assert await server._intake.take(camera, item("porch", RUN, 2, b"no picture")) is Outcome.GONE
    await server._intake.declare(camera, RUN, 3, 3, "quota")
    rows = await server._archive.index.read(  # type: ignore[union-attr]
        lambda r: (r.items.count(), r.events.count(), r.dropped.count(), r.settled.count())
    )
    assert rows == (0, 0, 0, 0) and not list((server.settings.store_path / "items").rglob("*"))


async def test_the_server_stops_where_the_disk_hangs_and_what_was_answered_is_there_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start(notes={}, durable=True)
    await server.issue_keys("porch")
    camera = server._cameras.get("porch")
    assert camera is not None
    upload = server._desk.of(camera).upload
    assert (await upload(jpeg(0)))[0] is Outcome.STORED
    await settled(server)
    assert (await upload(jpeg(1)))[0] is Outcome.STORED
    sync, again = os.fdatasync, threading.Event()

    def fdatasync(fd: int) -> None:
        if of_journal(fd):
            again.wait(60)
        sync(fd)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    late = asyncio.gather(upload(jpeg(2)), server._archive.index.write(lambda rows: again.wait(60)))
    await asyncio.sleep(0.05)
    try:
        async with asyncio.timeout(15):
            await server.close()
    finally:
        again.set()
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    server = await start(notes={}, durable=True)
    async with asyncio.timeout(15):
        while left_in(server.settings.store_path):
            await asyncio.sleep(0.02)
    assert [data for data, _ in await stored(server)][:2] == [jpeg(0), jpeg(1)]


async def test_who_uploads_waits_for_an_archive_that_refuses_only_so_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "WAIT_S", 0.2)
    monkeypatch.setattr(journals, "backoff_s", soon)
    monkeypatch.setattr(journalfile, "FILL_BYTES", 30_000)
    journal = await bench.open()
    bench.refusing = True
    async with asyncio.timeout(15):
        said = await asyncio.gather(*(put(journal, n) for n in range(40)))
    answered = [n for n, [outcome] in enumerate(said) if outcome is Outcome.STORED]
    assert 2 <= len(answered) < 40 and {o for [o] in said} == {Outcome.STORED, Outcome.FULL}
    bench.refusing = False
    async with asyncio.timeout(15):
        assert set(await put(journal, *range(40, 50))) == {Outcome.STORED}
    await journal.close()
    assert bench.pictures() == [frame(n).data for n in (*answered, *range(40, 50))]


async def test_a_file_that_cannot_be_read_is_told_of_once_and_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journals, "backoff_s", soon)
    journal = await bench.open()
    read, tried = os.pread, 0

    def pread(fd: int, size: int, at: int) -> bytes:
        nonlocal tried
        if of_journal(fd):
            tried += 1
            if tried < 5:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(fd, size, at)

    monkeypatch.setattr(os, "pread", pread)
    assert await put(journal, 0) == [Outcome.STORED]
    async with asyncio.timeout(15):
        while not bench.pictures():
            await asyncio.sleep(0.02)
    assert tried == 5 and len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1
    await journal.close()


async def test_what_a_server_before_left_is_tried_again_too(
    bench: Bench, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(desk, "backoff_s", soon)
    bench.refusing = True
    journal = await bench.open()
    await put(journal, 0, 1)
    await journal.close()
    read, tried = journalfile.read, 0

    def once_more(path: Path) -> bytes:
        nonlocal tried
        tried += 1
        if tried < 5:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(path)

    monkeypatch.setattr(journals, "read", once_more)
    server = await start(notes={}, durable=True)
    async with asyncio.timeout(15):
        while left_in(server.settings.store_path):
            await asyncio.sleep(0.02)
    assert bench.pictures() == [frame(0).data, frame(1).data]
    assert len([r for r in caplog.records if "left" in r.message and r.levelno >= logging.WARNING]) == 1


async def test_fsck_tells_of_journals_that_are_damaged_or_none(bench: Bench) -> None:
    await bench.open()
    root = bench.archive.root
    path, other = (root / "items" / "porch" / RUN / name for name in journalfile.NAMES)
    path.parent.mkdir(parents=True)
    half = Half(path, -1)
    half.begin(7, 1)
    whole = b"".join(half.record(clip.pack((frame(n),))) for n in range(3))
    path.write_bytes(whole)
    assert check(root).ok and check(root).waiting == 3
    path.write_bytes(whole[:-1] + bytes(5000))
    assert check(root).ok and check(root).waiting == 2, "the last one was not answered, as far as anybody knows"
    second = HEAD.size + HEAD.unpack_from(whole)[3]
    path.write_bytes(whole[: second + 60] + b"?" + whole[second + 61 :])
    report = check(root)
    assert (report.waiting, report.torn, report.ok) == (1, 1, False) and str(path) in report.findings[0]
    path.unlink()
    os.mkfifo(path)
    other.touch()
    os.truncate(other, 2**40)
    report = check(root)
    assert report.torn == 2 and "larger" in "".join(report.findings) and not report.waiting
    path.unlink()
    other.unlink()
    (root / "elsewhere").write_bytes(whole)
    path.symlink_to(root / "elsewhere")
    report = check(root)
    assert (report.waiting, report.torn) == (0, 1)
    with pytest.raises(OSError, match="symbolic"):
        await journals.take_over(path, bench.hand)
    assert path.is_symlink()


async def test_a_camera_that_rests_keeps_no_files(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "REST_S", 0.1)
    journal = await bench.open()
    for n in range(3):
        assert await put(journal, n) == [Outcome.STORED]
        await journal.flush()
        async with asyncio.timeout(15):
            while left_in(bench.archive.root):
                await asyncio.sleep(0.02)
    assert bench.pictures() == [frame(n).data for n in range(3)]
    links = [os.path.realpath(f) for f in Path("/proc/self/fd").iterdir()]
    assert not [link for link in links if link.startswith(str(bench.archive.root / "items"))]
    await journal.close()


async def test_an_index_that_fails_where_nobody_expects_it_delays_a_clip(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "backoff_s", soon)
    journal = await bench.open()
    hand, failed = bench.hand, 0

    async def unavailable(one: Item) -> Outcome:
        nonlocal failed
        failed += 1
        if failed < 3:
            raise UnavailableError("locked")
        return await hand(one)

    monkeypatch.setattr(journal, "_hand", unavailable)
    await put(journal, 0)
    async with asyncio.timeout(15):
        while not bench.pictures():
            await asyncio.sleep(0.02)
    await journal.close()


async def test_an_index_that_fails_while_a_picture_is_given_up_is_told_of(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start(notes={})
    await server.issue_keys("porch")
    camera = server._cameras.get("porch")
    assert camera is not None

    async def unavailable(*_: Any, **__: Any) -> None:
        raise UnavailableError("locked")

    monkeypatch.setattr(Archive, "declare", unavailable)
    monkeypatch.setattr(pictures, "MAX_WAITING_BYTES", -pictures.MAX_PICTURE_BYTES)
    of = server._desk.of(camera)
    of._keep(of._stored(item("porch", of.spool, 1, jpeg(0), ItemType.CLIP)))
    await of.settled()
    await asyncio.sleep(0)
    assert [r for r in caplog.records if "locked" in r.getMessage() and r.name.startswith("agent.")]


async def test_a_slow_clip_has_the_next_one_grow_and_nobody_wait(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("YOUNG_CLIP_S", "CLIP_S"):
        monkeypatch.setattr(journals, name, 0.02)
    journal = await bench.open()
    hand, slow, handed = bench.hand, asyncio.Event(), 0

    async def slowly(one: Item) -> Outcome:
        nonlocal handed
        handed += 1
        await slow.wait()
        return await hand(one)

    monkeypatch.setattr(journal, "_hand", slowly)
    for n in range(6):
        async with asyncio.timeout(5):
            assert await put(journal, n) == [Outcome.STORED]
        await asyncio.sleep(0.05)
    assert handed == 1
    slow.set()
    await journal.close()
    assert handed == 2 and bench.pictures() == [frame(n).data for n in range(6)]


async def test_what_a_server_before_left_is_looked_for_by_another_thread(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def looked(store: Path) -> list[Path]:
        threads.append(threading.current_thread())
        return left_in(store)

    monkeypatch.setattr(desk, "left_in", looked)
    await start(notes={})
    assert threads and threading.main_thread() not in threads
