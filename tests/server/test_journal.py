"""Uploads that were answered become clips: few, in order, once; and what is in their way loses none of them."""

from __future__ import annotations

import asyncio
import errno
import ftplib
import io
import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.frame import Codec, Frame, Item
from agent.media import clip
from agent.server.app import CameraServer
from agent.server.archive import Archive, Outcome
from agent.server.camera import CameraSettings
from agent.server.fsck import check
from agent.server.ingest import journalfile
from agent.server.ingest.journal import LARGE_BYTES, take_over
from agent.server.ingest.journalfile import HEAD, Half, left_in, parse
from agent.server.rebuild import rebuild
from tests.server.conftest import Start
from tests.server.journals import Bench
from tests.server.people import basic
from tests.server.pictures import frame, jpeg, kept, settled
from tests.server.test_ways_in import events, stored


def put_all(port: int | None, login: str, password: str, pictures: list[bytes]) -> list[str]:
    with ftplib.FTP(timeout=20) as client:
        client.connect("127.0.0.1", port or 0)
        client.login(login, password)
        return [client.storbinary(f"STOR {n}.jpg", io.BytesIO(p))[:3] for n, p in enumerate(pictures)]


def clips(server: CameraServer) -> list[Path]:
    return sorted((server.settings.store_path / "items").rglob("*.clip"))


async def test_a_burst_by_ftp_becomes_few_clips_with_the_same_bytes(start: Start) -> None:
    server = await start(notes={}, ftp_port=0, durable=True)
    keys = await server.issue_keys("porch", CameraSettings(pause_s=1))
    sent = [jpeg(n) for n in range(60)]
    sent[20] += bytes(LARGE_BYTES)
    sent[40] = sent[40][:-20]
    said = await asyncio.to_thread(put_all, server.ftp_port, keys.login, keys.password, sent)
    assert said == ["226"] * 60
    found = await stored(server)
    assert [data for data, _ in found] == sent
    assert [n for n, (_, flags) in enumerate(found) if flags & clip.TRUNCATED] == [40]
    assert len(clips(server)) < 20
    await asyncio.sleep(1.5)  # the pause that ends the event
    await settled(server)
    report = check(server.settings.store_path)
    assert report.ok and not report.waiting and not report.unindexed, report
    await server.close()
    assert not left_in(server.settings.store_path)


async def test_who_uploads_a_picture_and_looks_sees_it(server: CameraServer, viewer: aiohttp.ClientSession) -> None:
    keys = await server.issue_keys("porch")
    url, headers = server.urls()[0], basic(keys.login, keys.password)
    for n in range(5):
        async with viewer.put(url + "v1/cam/porch/picture", data=jpeg(n), headers=headers) as answer:
            assert answer.status == 201
        async with viewer.get(url + "api/v1/events") as answer:
            [event] = (await answer.json())["events"]
        assert event["frames"] == n + 1


async def test_a_slow_archive_holds_up_who_looks_for_a_moment_only(
    server: CameraServer, viewer: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = await server.issue_keys("porch")
    url, headers = server.urls()[0], basic(keys.login, keys.password)
    ingest, slow = Archive.ingest, asyncio.Event()

    async def late(self: Archive, item: Item, **how: bool) -> Outcome:
        await slow.wait()
        return await ingest(self, item, **how)

    monkeypatch.setattr(Archive, "ingest", late)
    async with viewer.put(url + "v1/cam/porch/picture", data=jpeg(0), headers=headers) as answer:
        assert answer.status == 201
    async with asyncio.timeout(5), viewer.get(url + "api/v1/events") as answer:
        assert not (await answer.json())["events"]
    slow.set()
    assert [data for data, _ in await stored(server)] == [jpeg(0)]


async def test_clips_are_made_by_themselves(server: CameraServer) -> None:
    keys = await server.issue_keys("porch")
    url, headers = server.urls()[0] + "v1/cam/porch/picture", basic(keys.login, keys.password)
    async with aiohttp.ClientSession(headers=headers) as http:
        for n in range(3):
            async with http.put(url, data=jpeg(n)) as answer:
                assert answer.status == 201
    async with asyncio.timeout(10):
        while len(list(kept(server.settings.store_path / "items"))) < 3:
            await asyncio.sleep(0.05)


async def test_pauses_make_events_of_their_own(
    start: Start, viewer: aiohttp.ClientSession, server: CameraServer
) -> None:
    keys = await server.issue_keys("porch", CameraSettings(pause_s=1))
    url = server.urls()[0] + "v1/cam/porch/picture"
    for n in range(6):
        async with viewer.put(url, data=jpeg(n), headers=basic(keys.login, keys.password)) as answer:
            assert answer.status == 201
        await asyncio.sleep(1.3 if n == 2 else 0.01)
    await asyncio.sleep(1.2)
    assert [(e["state"], e["frames"]) for e in await events(server, viewer)] == [("closed", 3), ("closed", 3)]


async def test_what_the_archive_refuses_waits_and_who_brings_more_waits_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journalfile, "FILL_BYTES", 30_000)
    journal = await bench.open()
    bench.refusing = True
    puts = [asyncio.ensure_future(journal.put(frame(n), 1, truncated=False)) for n in range(40)]
    await asyncio.sleep(0.5)
    taken = sum(p.done() for p in puts)
    assert 2 <= taken < 40, "two files are the bound"
    assert not bench.pictures()
    bench.refusing = False
    async with asyncio.timeout(20):
        assert set(await asyncio.gather(*puts)) == {Outcome.STORED}
    await journal.close()
    assert bench.pictures() == [frame(n).data for n in range(40)]
    assert not left_in(bench.archive.root)


async def test_what_was_refused_until_the_end_stays_for_the_next_start(bench: Bench) -> None:
    journal = await bench.open()
    bench.refusing = True
    for n in range(5):
        assert await journal.put(frame(n), 1, truncated=False) is Outcome.STORED
    async with asyncio.timeout(5):
        await journal.close()
    assert check(bench.archive.root).waiting == 5
    bench.refusing = False
    for path in left_in(bench.archive.root):
        assert await take_over(path, bench.hand)
    assert bench.pictures() == [frame(n).data for n in range(5)] and not left_in(bench.archive.root)
    assert check(bench.archive.root).waiting == 0


async def test_what_was_stored_before_the_crash_is_not_stored_again(bench: Bench) -> None:
    """Also where the index was lost since, and made anew from the files."""
    journal = await bench.open()
    for n in range(5):
        await journal.put(frame(n), 1, truncated=False)
    await journal.flush()
    left = {path: path.read_bytes() for path in left_in(bench.archive.root)}
    assert left and check(bench.archive.root).waiting == 0
    await journal.close()
    for again in (False, True):
        if again:
            await bench.archive.close()
            for path in bench.archive.root.glob("index.db*"):
                path.unlink()
            await rebuild(bench.archive.root)
            bench.archive = Archive(bench.archive.root, min_free_bytes=0)
        for path, data in left.items():
            path.write_bytes(data)
            assert await take_over(path, bench.hand)
        assert bench.pictures() == [frame(n).data for n in range(5)]


async def test_a_disk_that_fails_refuses_and_keeps_what_was_answered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = await bench.open()
    assert await journal.put(frame(0), 1, truncated=False) is Outcome.STORED
    sync, failing = os.fdatasync, True

    def fdatasync(fd: int) -> None:
        if failing and "journal-" in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(fd)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    answered = [0]
    for begin in (1, 6, 11):
        failing = True
        some = await asyncio.gather(*(journal.put(frame(n), 1, truncated=False) for n in (begin, begin + 1)))
        assert set(some) == {Outcome.FULL}
        failing = False
        for n in range(begin + 2, begin + 5):
            assert await journal.put(frame(n), 1, truncated=False) is Outcome.STORED
            answered.append(n)
            await journal.flush()
    await journal.close()
    refused = [frame(n).data for n in range(16) if n not in answered]
    assert [data for data in bench.pictures() if data not in refused] == [frame(n).data for n in answered]
    assert not left_in(bench.archive.root)


async def test_a_locked_index_delays_clips_and_no_upload(start: Start, http: aiohttp.ClientSession) -> None:
    server = await start(notes={}, durable=True)
    keys = await server.issue_keys("porch")
    url, headers = server.urls()[0] + "v1/cam/porch/picture", basic(keys.login, keys.password)
    async with http.put(url, data=jpeg(0), headers=headers) as answer:
        assert answer.status == 201
    await settled(server)
    with closing(sqlite3.connect(server.settings.store_path / "index.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for n in (1, 2):
            async with http.put(url, data=jpeg(n), headers=headers, timeout=aiohttp.ClientTimeout(5)) as answer:
                assert answer.status == 201
        assert len(clips(server)) == 1
        other.execute("COMMIT")
    assert [data for data, _ in await stored(server)] == [jpeg(n) for n in range(3)]


async def test_a_deleted_camera_leaves_no_journal(start: Start, http: aiohttp.ClientSession) -> None:
    server = await start(notes={}, durable=True)
    keys = await server.issue_keys("secret-porch")
    url, headers = server.urls()[0] + "v1/cam/secret-porch/picture", basic(keys.login, keys.password)
    for n in range(4):
        async with http.put(url, data=jpeg(n) + b"needle", headers=headers) as answer:
            assert answer.status == 201
    await server.delete_camera("secret-porch")
    async with http.put(url, data=jpeg(9), headers=headers) as answer:
        assert answer.status == 410
    for path in server.settings.store_path.rglob("*"):
        assert "secret-porch" not in str(path)
        data = path.read_bytes() if path.is_file() else b""
        assert b"secret-porch" not in data and b"needle" not in data
    assert not [link for link in map(os.path.realpath, Path("/proc/self/fd").iterdir()) if "journal-" in link]


@settings(max_examples=300)
@given(
    earlier=st.lists(st.integers(1, 3000), max_size=6),
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=8),
    synced=st.integers(0, 8),
    kept=st.randoms(use_true_random=False),
)
def test_a_file_after_a_power_cut_has_what_was_synced_and_nothing_torn(
    earlier: list[int], sizes: list[int], synced: int, kept: random.Random
) -> None:
    """A filling over an earlier one: of what was not synced, some sectors are on the disk, others as before."""
    half = Half(Path("none"), -1)

    def filling(seq: int, lengths: list[int]) -> list[bytes]:
        half.begin(seq, 7)
        pictures = (Frame(Codec.JPEG, bytes([65 + n]) * size, True, n, n, n) for n, size in enumerate(lengths))
        return [half.record(clip.pack((one,))) for one in pictures]

    disk = bytearray(b"".join(filling(5, earlier)))
    records = filling(9, sizes)
    synced = min(synced, len(records))
    safe, all_ = b"".join(records[:synced]), b"".join(records)
    disk.extend(bytes(max(0, len(all_) - len(disk))))
    disk[: len(safe)] = safe
    for at in range(len(safe) // 512 * 512, len(all_), 512):
        if kept.random() < 0.5:
            first = max(at, len(safe))
            disk[first : at + 512] = all_[first : at + 512]
    found = parse(bytes(disk))
    if synced:
        assert found is not None and found.seq == 9
    if found is not None and found.seq == 9:
        bodies = [r[HEAD.size :] for r in records]
        assert found.pictures >= synced and found.payload == b"".join(bodies[: found.pictures])
    elif found is not None:
        assert found.seq == 5, "what was stored before, and is known by its number"
