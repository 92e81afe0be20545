"""A camera is deleted and added again while its agent keeps what it delivered: real server, spool and sinks."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.errors import PermanentError
from agent.frame import ItemType, Worth
from agent.hub import Hub
from agent.server import sqlite
from agent.server.app import CameraServer
from agent.server.fsck import check
from agent.server.ingest import Intake, Standing
from agent.server.rebuild import rebuild
from agent.server.sqlite import database, schema
from agent.sinks import Feed, Sink
from agent.sinks.http import HttpSink
from agent.sinks.websocket import WebSocketSink
from agent.spool.disk import Disk
from agent.spool.store import Spool
from tests.server.agents import Uplinks
from tests.server.conftest import Start
from tests.server.people import owner
from tests.server.pictures import jpeg
from tests.server.test_erasure import _other
from tests.server.test_virtual import traces

NAME = "velvet-otter"
WAYS = ["websocket", "http", "embedded"]
MIB = 1024 * 1024


class Agent:
    """One that is started and stopped, with its spool and its ledger."""

    def __init__(self, folder: Path, way: str) -> None:
        self.folder = folder
        self.ledger = folder / "ledger"
        self.way = way
        self.pictures = 0

    def sink(self, server: CameraServer, token: str) -> Sink:
        if self.way == "embedded":
            return server.local_sink()
        kind = WebSocketSink if self.way == "websocket" else HttpSink
        return kind(url=f"{'ws' if self.way == 'websocket' else 'http'}://127.0.0.1:{server.port}", token=token)

    @asynccontextmanager
    async def spool(self, *more: str) -> AsyncIterator[Spool]:
        """A start of the agent, up to its end."""
        spool = Spool(NAME, Disk(self.folder / "spool", 64 * MIB, ("a", *more), 0.0), ledger=self.ledger)
        try:
            yield spool
        finally:
            await spool.close()

    def put(self, spool: Spool, count: int) -> None:
        for _ in range(count):
            self.pictures += 1
            spool.put(ItemType.STILL, 0, time.time_ns(), jpeg(self.pictures), Worth.STILL)

    async def deliver(self, server: CameraServer, token: str, count: int = 0) -> None:
        """A start that makes some pictures, until the server has or knows all."""
        async with self.spool() as spool:
            self.put(spool, count)
            await _delivered(spool, self.sink(server, token))


async def _delivered(spool: Spool, sink: Sink) -> None:
    up = asyncio.Event()
    box = spool.outbox("a")
    task = asyncio.ensure_future(sink.run(Feed(NAME, box, Hub(), up.set)))
    try:
        async with asyncio.timeout(60):
            while not (up.is_set() and box.idle and not box.dropped() and not spool.fresh):
                assert not task.done(), task.exception()
                await asyncio.sleep(0.02)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def pictures(server: CameraServer) -> list[str]:
    return sorted(p.stem for p in (server.settings.store_path / "items").rglob("*.jpg"))


async def camera_id(server: CameraServer) -> str:
    rows = await server._archive.index.read(lambda rows: rows.cameras.find(name=NAME))  # type: ignore[union-attr]
    return rows[0].camera_id


@pytest.mark.parametrize("way", WAYS)
async def test_deleted_recordings_do_not_come_back(start: Start, tmp_path: Path, way: str) -> None:
    server = await start()
    agent = Agent(tmp_path, way)
    token = await server.issue_token(NAME)
    await agent.deliver(server, token, 5)
    async with agent.spool() as spool:
        agent.put(spool, 2)  # nobody has them yet
    assert pictures(server) == ["1", "2", "3", "4", "5"]
    former = await camera_id(server)
    await server.delete_camera(NAME)
    assert list(traces(server.settings.store_path, NAME, former)) == []
    token = await server.issue_token(NAME)
    for count in (1, 0):
        await agent.deliver(server, token, count)
        assert pictures(server) == ["6", "7", "8"]
    assert await server._archive.acks(NAME, spool.id) == (8, []), "its ledger waits for nothing"  # type: ignore[union-attr]
    report = await asyncio.to_thread(check, server.settings.store_path, (agent.ledger,))
    assert (report.promised, report.stored, report.declared, report.ok) == (8, 3, 5, True)
    assert (await asyncio.to_thread(check, server.settings.store_path)).declared == 5
    assert list(traces(server.settings.store_path, former)) == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_restored_backup_gets_again_what_it_lost(start: Start, tmp_path: Path, way: str) -> None:
    server = await start()
    agent = Agent(tmp_path, way)
    token = await server.issue_token(NAME)
    await agent.deliver(server, token, 2)
    await server.close()
    shutil.copytree(tmp_path / "store", tmp_path / "backup")
    server = await start()
    await agent.deliver(server, token, 3)
    await server.close()
    server = await start(store="backup")
    await agent.deliver(server, token)
    assert pictures(server) == ["1", "2", "3", "4", "5"]


async def test_new_keys_make_no_new_camera(start: Start, tmp_path: Path) -> None:
    server = await start()
    agent = Agent(tmp_path, "websocket")
    await agent.deliver(server, await server.issue_token(NAME), 2)
    before = await camera_id(server)
    token = (await server._cameras.add(NAME)).token
    assert before == await camera_id(server) != ""
    token = await server._cameras.renew_token(NAME) or ""
    assert before == await camera_id(server)
    await agent.deliver(server, token, 1)
    assert pictures(server) == ["1", "2", "3"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_names_no_camera_is_met_as_before(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    standing = Intake.standing

    async def nameless(self: Intake, camera: str, spool: str) -> Standing | None:
        found = await standing(self, camera, spool)
        return (*found[:2], "") if found else None

    server = await start()
    agent = Agent(tmp_path, way)
    monkeypatch.setattr(Intake, "standing", nameless)
    await agent.deliver(server, await server.issue_token(NAME), 2)
    await server.delete_camera(NAME)
    await agent.deliver(server, await server.issue_token(NAME))
    assert pictures(server) == ["1", "2"], "it may be an older copy of itself"


async def test_an_index_made_of_files_knows_no_ids_and_is_filled_again(start: Start, tmp_path: Path) -> None:
    server = await start()
    agent = Agent(tmp_path, "websocket")
    await agent.deliver(server, await server.issue_token(NAME), 3)
    await server.close()
    for lost in [*(tmp_path / "store").glob("index.db*"), *(tmp_path / "store").rglob("3.jpg")]:
        lost.unlink()
    await rebuild(tmp_path / "store")
    server = await start()
    await agent.deliver(server, await server.issue_token(NAME))
    assert (pictures(server), await camera_id(server)) == (["1", "2", "3"], "")
    await server.delete_camera(NAME)
    await agent.deliver(server, await server.issue_token(NAME))
    assert pictures(server) == []


async def test_cameras_of_an_older_index_have_the_same_id_in_each_of_its_backups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = schema.MIGRATIONS
    before = next(i for i, step in enumerate(newest) if "camera_id" in str(step))
    monkeypatch.setattr(database, "MIGRATIONS", newest[:before])
    (tmp_path / "store").mkdir()
    await sqlite.open_index(tmp_path / "store", durable=True).close()
    with closing(sqlite3.connect(tmp_path / "store" / sqlite.FILE)) as conn:
        conn.execute("INSERT INTO cameras (name, created_ns) VALUES ('a', 1795420800000000000), ('b', 7), ('c', 0)")
        conn.commit()
    shutil.copytree(tmp_path / "store", tmp_path / "backup")
    monkeypatch.undo()
    for store in ("store", "backup"):
        index = sqlite.open_index(tmp_path / store, durable=True)
        found = {row.name: row.camera_id for row in await index.read(lambda rows: rows.cameras.find())}
        assert found == {"a": "18ea9db47e590000", "b": "0000000000000007", "c": ""}
        await index.close()


async def test_the_answers_name_the_camera(start: Start, connect: Uplinks) -> None:
    server = await start()
    token = await server.issue_token(NAME)
    uplink = await connect(server, NAME, token)
    await uplink.hello()
    assert uplink.camera_id == await camera_id(server) and len(uplink.camera_id) == 16
    root = f"{server.urls()[0]}v1/cam/{NAME}"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http:
        async with http.get(f"{root}/ack?spool={uplink.spool}") as answer:
            assert (await answer.json())["camera_id"] == uplink.camera_id
        body = {"spool": uplink.spool, "first": 1, "last": 2, "why": "former"}
        async with http.post(f"{root}/dropped", json=body) as answer:
            assert await answer.json() == {"ack": 2, "have": [], "camera_id": uplink.camera_id}


async def test_another_process_deletes_the_camera_and_adds_it_again_within_a_second(
    start: Start, connect: Uplinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start()
    token = await server.issue_token(NAME)
    camera = server._cameras.get(NAME)
    uplink = await connect(server, NAME, token)
    await uplink.hello()
    row = server._cameras._rows[NAME]
    async with _other(server) as archive:
        await archive.index.write(lambda rows: server._cameras._forget(rows, row, erase=True))
        await archive.erase(NAME)
        await archive.index.write(lambda rows: rows.cameras.add(_again(row)))
    assert await uplink.closed() == 4410
    assert server._cameras.get(NAME) is not camera, "its last picture and its reasons went with it"


def _again(row: Any) -> Any:
    import dataclasses

    return dataclasses.replace(row, camera_id="00000000000000aa")


async def test_an_item_on_its_way_into_a_deleted_camera_is_not_delivered(start: Start, tmp_path: Path) -> None:
    server = await start()
    agent = Agent(tmp_path, "embedded")
    await agent.deliver(server, "", 1)
    taken, go = asyncio.Event(), asyncio.Event()
    ingest = server._archive.ingest  # type: ignore[union-attr]

    async def slow(item: Any, **more: Any) -> Any:
        taken.set()
        await go.wait()
        return await ingest(item, **more)

    async with agent.spool() as spool:
        agent.put(spool, 1)
        server._archive.ingest = slow  # type: ignore[union-attr, method-assign]
        camera = server._cameras.get(NAME)
        assert camera is not None
        server._cameras._closers.clear()
        task = asyncio.ensure_future(server.local_sink().run(Feed(NAME, spool.outbox("a"), Hub())))
        async with asyncio.timeout(60):
            await taken.wait()
            server._cameras._closers.clear()  # it is not told: the store's answer alone tells it
            await server.delete_camera(NAME)
            go.set()
            with pytest.raises(PermanentError, match="deleted"):
                await task
        assert not spool.outbox("a").idle
        del server._archive.ingest  # type: ignore[union-attr]
        await _delivered(spool, server.local_sink())
    assert pictures(server) == ["2"]


async def test_the_page_deletes_an_embedded_camera_while_its_agent_runs(start: Start, tmp_path: Path) -> None:
    server = await start()
    agent = Agent(tmp_path, "embedded")
    async with owner(server) as who, agent.spool() as spool:
        agent.put(spool, 3)
        task = asyncio.ensure_future(server.local_sink().run(Feed(NAME, spool.outbox("a"), Hub())))
        async with asyncio.timeout(60):
            await spool.outbox("a").drained()
            await who.ask("DELETE", f"/api/v1/cameras/{NAME}", 204)
            with pytest.raises(PermanentError, match="deleted"):
                await task
        agent.put(spool, 1)
        await _delivered(spool, server.local_sink())
    assert pictures(server) == ["4"]
    assert json.loads((tmp_path / "spool" / "acks.json").read_text())["a"]["former"] == [[1, 3]]
