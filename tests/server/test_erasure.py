"""A deletion that is cut short, met by another process, or met by who is still uploading."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.server import erasure, sqlite
from agent.server.app import CameraServer
from agent.server.archive import Archive
from agent.server.fsck import check
from agent.server.index import Rows
from agent.server.index.rows import Fact
from agent.server.ingest.http import repr_digest
from tests.server.agents import Uplinks
from tests.server.conftest import Start
from tests.server.people import Person, basic, owner
from tests.server.pictures import item, jpeg
from tests.server.test_virtual import NAME, traces


async def dismiss(server: CameraServer) -> None:
    """What `virtual delete` in another process has done when it is killed after its first step."""
    row = server._cameras._rows[NAME]
    async with _other(server) as archive:
        await archive.index.write(lambda rows: server._cameras._forget(rows, row, erase=True))


class _other:
    """The store as another process opens it."""

    def __init__(self, server: CameraServer) -> None:
        self._archive = Archive(server.settings.store_path, durable=False)

    async def __aenter__(self) -> Archive:
        return self._archive

    async def __aexit__(self, *_: object) -> None:
        await self._archive.close()


async def gone(server: CameraServer) -> None:
    begin = time.monotonic()
    while list(traces(server.settings.store_path, NAME)):
        assert time.monotonic() - begin < 60, list(traces(server.settings.store_path, NAME))
        await asyncio.sleep(0.1)


async def upload(who: Person, made: dict[str, str], count: int = 1) -> None:
    for n in range(count):
        await who.ask("PUT", made["upload_url"], 201, data=jpeg(n), headers=basic(made["login"], made["password"]))


async def test_a_running_server_finishes_what_another_process_began(start: Start) -> None:
    server = await start()
    async with owner(server) as who:
        await upload(who, await who.add(NAME))
        await dismiss(server)
        await gone(server)


async def test_a_camera_of_the_same_name_begins_after_the_erasure_and_is_left_alone(start: Start) -> None:
    server = await start()
    async with owner(server) as who:
        await upload(who, await who.add(NAME))
        await dismiss(server)
        await server._cameras.refresh()
        made = await who.add(NAME)
        await upload(who, made)
        async with _other(server) as late:
            await late.erase(NAME)  # the other process wakes up
        assert len((await who.ask("GET", "/api/v1/events"))["events"]) == 1
        await who.ask("GET", f"/api/v1/cameras/{NAME}")
    await server.close()
    again = await start()
    assert await again._cameras.check(NAME, made["token"]) == 200
    assert len(list((again.settings.store_path / "items" / NAME).rglob("*.clip"))) == 1


@pytest.mark.parametrize("steps", range(1, 8))
async def test_an_erasure_may_be_cut_anywhere_and_the_store_is_well_meanwhile(
    start: Start, monkeypatch: pytest.MonkeyPatch, connect: Uplinks, steps: int
) -> None:
    monkeypatch.setattr(erasure, "BATCH", 4)
    server = await start()
    made = await server.issue_keys(NAME)
    await server.issue_keys("other")
    for _ in range(2):
        uplink = await connect(server, NAME, made.token)
        await uplink.hello()
        for n in range(1, 8):
            await uplink.put(item(NAME, uplink.spool, n, jpeg(n)))
        await uplink.acked(7)
    store, archive = server.settings.store_path, server._archive
    assert archive is not None
    row = server._cameras._rows[NAME]
    await archive.index.write(lambda rows: server._cameras._forget(rows, row, erase=True))
    for _ in range(steps):
        await archive.index.write(lambda rows: archive._erasure._step(rows, NAME))
        assert (await asyncio.to_thread(check, store)).ok
    await server.close()
    again = await start()
    assert list(traces(store, NAME, uplink.spool)) == []
    assert not list((store / erasure.ERASED).iterdir())
    assert not (await again._archive.index.read(lambda rows: rows.facts.find(key=erasure.SCRUB)))  # type: ignore[union-attr]


async def test_what_a_crash_left_before_the_scrub_is_scrubbed_at_the_next_start(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    scrubbed = 0

    async def scrub(self: sqlite.SqliteIndex) -> None:
        nonlocal scrubbed
        scrubbed += 1

    monkeypatch.setattr(sqlite.SqliteIndex, "scrub", scrub)
    server = await start()
    await server._archive.index.write(lambda rows: rows.facts.put(Fact(erasure.SCRUB, b"1")))  # type: ignore[union-attr]
    await server.close()
    for _ in range(2):
        await (await start()).close()
    assert scrubbed == 1


async def test_an_erasure_that_fails_is_tried_again(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start()
    async with owner(server) as who:
        await upload(who, await who.add(NAME))
        clear, failures = erasure.Erasure.clear, 2

        def failing(self: erasure.Erasure) -> None:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise OSError(5, "the disk")
            clear(self)

        monkeypatch.setattr(erasure.Erasure, "clear", failing)
        await who.http.delete(f"{who.base}/api/v1/cameras/{NAME}")
        await gone(server)
        begin = time.monotonic()
        while list((server.settings.store_path / erasure.ERASED).iterdir()):
            assert time.monotonic() - begin < 60
            await asyncio.sleep(0.1)
    assert "not erased yet" in caplog.text
    caplog.clear()


async def test_an_upload_in_flight_leaves_nothing_of_its_deleted_camera(start: Start) -> None:
    """Parts of items, a picture, a form and a stream: begun before the deletion, ended after it."""
    server = await start()
    async with owner(server) as who:
        made = await who.add(NAME)
        auth = {"Authorization": f"Bearer {made['token']}"}
        go = asyncio.Event()

        async def slowly(picture: bytes) -> AsyncIterator[bytes]:
            yield picture[:100]
            await go.wait()
            yield picture[100:]

        sent = item(NAME, "0123456789abcdef", 1, jpeg(1) + bytes(300_000))
        head = auth | {"Item-Type": "still", "Repr-Digest": repr_digest(sent.sha256)}
        whole = head | {"Content-Length": str(len(sent.payload))}
        part = head | {"Content-Length": str(len(sent.payload)), "Upload-Length": str(len(sent.payload))}
        part |= {"Upload-Offset": "0", "Upload-Complete": "?1"}
        where = f"{who.base}/v1/cam/{NAME}"
        async with aiohttp.ClientSession() as http:
            requests = [
                http.put(f"{where}/item/0123456789abcdef-1", data=slowly(sent.payload), headers=whole),
                http.patch(f"{where}/item/0123456789abcdef-2", data=slowly(sent.payload), headers=part),
                http.patch(f"{where}/item/0123456789abcdef-2", data=slowly(sent.payload), headers=part),
                http.put(f"{where}/picture", data=slowly(jpeg(1)), headers=auth),
                http.post(f"{where}/mjpeg", data=slowly(jpeg(1) + jpeg(2)), headers=auth),
            ]
            jobs = [asyncio.ensure_future(_status(r)) for r in requests]
            begin = time.monotonic()
            while server._uploads._running[NAME] < 3 or server._cameras.get(NAME).sessions < 3:  # type: ignore[union-attr]
                assert time.monotonic() - begin < 60
                await asyncio.sleep(0.05)
            await who.ask("DELETE", f"/api/v1/cameras/{NAME}", 204)
            go.set()
            assert set(await asyncio.gather(*jobs)) <= {410, 409, 0}
        assert list(traces(server.settings.store_path, NAME)) == []
        assert NAME not in server._desk._of
        assert not server._uploads._running and not server._uploads._locks


async def _status(request: Any) -> int:
    """0: the connection was closed."""
    try:
        async with request as answer:
            return int(answer.status)
    except aiohttp.ClientError:
        return 0


async def test_strangers_with_wrong_tokens_have_the_registry_read_once(start: Start) -> None:
    server = await start()
    await server.issue_keys("porch")
    index = server._archive.index  # type: ignore[union-attr]
    read, reads = index.read, 0

    async def counted(query: Callable[[Rows], Any]) -> Any:
        nonlocal reads
        reads += "Cameras.refresh" in query.__qualname__
        return await read(query)

    async with aiohttp.ClientSession(headers={"Authorization": "Bearer wrong"}) as http:
        index.read = counted  # type: ignore[method-assign]
        for _ in range(20):
            async with http.put(server.urls()[0] + "v1/cam/porch/picture", data=jpeg(1)) as answer:
                assert answer.status == 401
    assert reads <= 1


async def test_a_part_of_the_server_that_breaks_ends_it(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start()

    async def broken() -> None:
        raise KeyError("bug")

    monkeypatch.setattr(server._cameras, "end_due", broken)
    async with asyncio.timeout(30):
        with pytest.raises(KeyError):
            await server.failure()
    assert "a part of the server failed" in caplog.text
    caplog.clear()


def test_a_strangers_file_among_the_markers_is_left_alone(tmp_path: Path) -> None:
    async def run() -> None:
        archive = Archive(tmp_path / "store", durable=False)
        (archive.root / "incoming" / "notes~").touch()
        assert await archive.finish_deletions() == 0
        await archive.close()

    asyncio.run(run())


ITEM = "Item-Type: still\r\nRepr-Digest: sha-256=:" + "A" * 43 + "=:\r\n"
FORM = "Content-Type: multipart/form-data; boundary=B\r\n"
FILE = b'--B\r\nContent-Disposition: form-data; name="a"; filename="a.jpg"\r\n\r\n'


@pytest.mark.parametrize(
    ("what", "header", "before"),
    [
        ("PUT picture", "", b""),
        ("POST picture", FORM, FILE),
        ("POST mjpeg", "", b"--P\r\nContent-Type: image/jpeg\r\n\r\n"),
        ("PUT item/0123456789abcdef-1", ITEM, b""),
        (
            "PATCH item/0123456789abcdef-2",
            ITEM + "Upload-Offset: 0\r\nUpload-Complete: ?0\r\nUpload-Length: 900000\r\n",
            b"",
        ),
    ],
    ids=["picture", "form", "stream", "item", "part"],
)
async def test_an_upload_in_flight_ends_at_once_with_its_camera(
    start: Start, tmp_path: Path, what: str, header: str, before: bytes
) -> None:
    server = await start()
    token = await server.issue_token("velvet-otter")
    method, path = what.split()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"{method} /v1/cam/velvet-otter/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    writer.write(f"{head}{header}Content-Length: 600000\r\n\r\n".encode() + before + jpeg(1) + bytes(300_000))
    camera = server._cameras.get("velvet-otter")
    async with asyncio.timeout(60):
        while not server._cameras._closers:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # until all of it has been read
        await server.delete_camera("velvet-otter")
        assert b" 410 " in await reader.readline()
        assert b"this camera was deleted" in await reader.readuntil(b"deleted")
    writer.close()
    assert camera is not None and not server._cameras._closers
    found = [p for p in server.settings.store_path.rglob("*") if "velvet-otter" in str(p) or p.parent.name == "parts"]
    assert found == []
