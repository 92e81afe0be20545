"""A store on a disk that fills up: refused, nothing broken, and taken again when there is room."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from agent import hosted
from agent.errors import UsageError
from agent.frame import Item
from agent.server.app import CameraServer, ServerSettings
from agent.server.archive import Archive, Outcome
from agent.server.camera import CameraSettings
from agent.server.fsck import check
from agent.server.handover import Pairing
from agent.server.index.rows import CameraRow
from agent.server.lock import left_as_found
from agent.server.sqlite import SqliteIndex
from tests.e2e.product import command
from tests.server.conftest import Start
from tests.server.people import basic, owner
from tests.server.pictures import item, jpeg
from tests.server.test_http_ingest import Client, big

SPOOL = "0123456789abcdef"


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A disk of four megabytes of its own, or of as many as the test asks for."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={getattr(request, 'param', 4)}m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs root, to mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def opened(root: Path, min_free_bytes: int) -> Archive:
    archive = Archive(root, min_free_bytes=min_free_bytes)
    await archive.index.write(lambda rows: rows.cameras.put(CameraRow("porch", 1, "", None, None, "{}")))
    return archive


@pytest.mark.parametrize("by", ["server", "command"])
async def test_a_store_that_cannot_be_made_leaves_no_folder(small_disk: Path, by: str) -> None:
    fill(small_disk)
    settings = ServerSettings(port=0, store=str(small_disk / "home" / "store"))
    with pytest.raises(UsageError, match="store") as refused:
        if by == "server":
            await CameraServer(settings).start()
        else:
            async with hosted.opened(settings, make=True) as store:
                await store.add("porch", CameraSettings())
    assert refused.value.exit_code == 73
    assert [p.name for p in small_disk.iterdir()] == ["others"]


async def test_a_store_that_was_there_and_one_that_somebody_uses_stay(start: Start, tmp_path: Path) -> None:
    def locked() -> UsageError:
        return UsageError("full", 73)

    with pytest.raises(UsageError), left_as_found(tmp_path):
        raise locked()
    assert tmp_path.exists()
    with pytest.raises(UsageError), left_as_found(tmp_path / "store"):
        server = await start()
        raise locked()
    await server.issue_keys("porch")
    assert server._cameras.get("porch") and (tmp_path / "store" / "index.db").exists()


async def test_a_pairing_code_outlasts_a_full_disk(start: Start, small_disk: Path) -> None:
    server = await start(notes={})
    keys = await server.issue_keys("porch")
    code = await Pairing(server._archive.index, server._clock).create("porch")  # type: ignore[union-attr]
    fill(small_disk)
    pair = ("pair", f"{code}@{server.urls()[0].rstrip('/')}", "--token-file", str(small_disk / "{camera}.token"))
    said = await command(*pair)
    assert said.process.returncode == 73 and "no space left on device" in said.text()
    assert [p.name for p in small_disk.iterdir()] == ["others"]
    assert await server._cameras.check("porch", keys.token) == 200, "nothing was changed"
    (small_disk / "others").unlink()
    said = await command(*pair)
    assert said.process.returncode == 0, said.text()
    assert await server._cameras.check("porch", (small_disk / "porch.token").read_text().strip()) == 200


def still(seq: int, size: int = 100_000) -> Item:
    return item("porch", SPOOL, seq, jpeg(seq) + bytes(size))


@pytest.mark.parametrize("min_free_bytes", [0, 1_000_000], ids=["to the last byte", "with a reserve"])
async def test_a_full_disk_refuses_and_breaks_nothing(small_disk: Path, min_free_bytes: int) -> None:
    archive = await opened(small_disk / "store", min_free_bytes)
    try:
        outcomes = [await archive.ingest(still(seq)) for seq in range(1, 61)]
        assert set(outcomes) == {Outcome.STORED, Outcome.FULL}
        taken = [seq for seq, outcome in enumerate(outcomes, 1) if outcome is Outcome.STORED]
        assert archive.full.is_set(), "retention is told"
        report = check(archive.root)
        assert report.ok and report.stored == len(taken)
        assert not list(archive.root.rglob("*.tmp"))
        acked, have = await archive.acks("porch", SPOOL)
        covered = {*range(1, acked + 1), *(n for a, b in have for n in range(a, b + 1))}
        assert covered == set(taken), "what was refused was not acknowledged"
    finally:
        await archive.close()
    again = await opened(small_disk / "store", 0)
    try:
        for name in (again.path("porch", SPOOL, seq, still(seq).type) for seq in taken[:10]):
            assert name.exists()
        rows = await again.index.read(lambda rows: rows.items.find(10))
        assert await again.delete([(row.camera, row.spool, row.seq) for row in rows]) == 10
        late = next(seq for seq in range(1, 61) if seq not in taken)
        assert await again.ingest(still(late)) is Outcome.STORED
        assert check(again.root).ok
    finally:
        await again.close()


async def test_many_at_once_on_a_disk_that_fills_up(small_disk: Path) -> None:
    """Those that share a commit share its fate, and none is half there."""
    archive = await opened(small_disk / "store", 0)
    try:
        outcomes = await asyncio.gather(*(archive.ingest(still(seq)) for seq in range(1, 61)))
        report = check(archive.root)
        assert report.ok and report.stored == outcomes.count(Outcome.STORED)
        assert Outcome.FULL in outcomes
    finally:
        await archive.close()


async def test_items_that_come_together_share_a_commit(tmp_path: Path) -> None:
    archive = await opened(tmp_path / "store", 0)
    try:
        assert isinstance(archive.index, SqliteIndex)
        before = archive.index.commits
        outcomes = await asyncio.gather(*(archive.ingest(still(seq, 10)) for seq in range(1, 101)))
        assert set(outcomes) == {Outcome.STORED}
        assert archive.index.commits - before <= 20
    finally:
        await archive.close()


async def test_a_full_store_answers_507_before_it_reads_and_serves_what_it_has(
    server: CameraServer, http: aiohttp.ClientSession
) -> None:
    client = Client(http, server, await server.issue_token("porch"))
    assert (await client.put(1, jpeg(1)))[0] == 201
    assert server._archive is not None
    reserve, server._archive.min_free_bytes = server._archive.min_free_bytes, 2**60
    whole = big(3000)
    for status, body, headers in (
        await client.put(2, jpeg(2)),
        await client.put(3, big(400_000)),
        await client.patch(4, whole, 0, 1000),
    ):
        assert (status, body["code"], headers["Retry-After"]) == (507, "full", "10")
    assert (await client.put(1, jpeg(1)))[1] == {"ack": 1, "dup": True}, "a repeat needs no room"
    assert (await client.head(1))[0] == 200
    server._archive.min_free_bytes = reserve
    assert (await client.put(2, jpeg(2)))[0] == 201
    assert (await client.patch(4, whole, 0, 3000))[0] == 201


async def test_an_event_can_be_deleted_where_nothing_fits_any_more(small_disk: Path, start: Start) -> None:
    server = await start(store=str(small_disk / "store"))
    async with owner(server) as who:
        made = await who.add("porch", pause_s=1)
        login = basic(made["login"], made["password"])
        await who.ask("PUT", "/v1/cam/porch/picture", 201, data=jpeg(1) + bytes(60_000), headers=login)
        event = {"state": "open"}
        while event["state"] != "closed":
            await asyncio.sleep(0.1)
            [event] = (await who.ask("GET", "/api/v1/events"))["events"]
        fill(small_disk)
        await who.ask("PUT", "/v1/cam/porch/picture", 507, data=jpeg(2), headers=login)
        await who.ask("DELETE", f"/api/v1/events/{event['id']}", 204)
        await who.ask("DELETE", f"/api/v1/events/{event['id']}", 404)
        assert (await who.ask("GET", "/api/v1/events"))["events"] == []
        assert server._archive is not None and check(server._archive.root).ok


@pytest.mark.parametrize("pictures", [0, 1])
@pytest.mark.parametrize("small_disk", [16], indirect=True)
async def test_a_camera_can_be_deleted_where_nothing_fits_any_more(
    small_disk: Path, start: Start, pictures: int
) -> None:
    """Also one that has nothing to give back: the index takes the ballast's room."""
    server = await start(store=str(small_disk / "store"), durable=True)
    async with owner(server) as who:
        made = await who.add("porch")
        login = basic(made["login"], made["password"])
        for n in range(pictures):
            await who.ask("PUT", "/v1/cam/porch/picture", 201, data=jpeg(n) + bytes(60_000), headers=login)
        while not (small_disk / "store" / "ballast").exists():
            await asyncio.sleep(0.05)
        fill(small_disk)
        await who.ask("DELETE", "/api/v1/cameras/porch", 204)
        await who.ask("PUT", "/v1/cam/porch/picture", 410, data=jpeg(2), headers=login)
        assert server._archive is not None and check(server._archive.root).ok
        assert list((small_disk / "store" / "items").iterdir()) == []


def fill(disk: Path) -> None:
    """Somebody else takes all that is left."""
    with open(disk / "others", "ab", buffering=0) as others, suppress(OSError):
        while True:
            others.write(bytes(4096))
