"""What `virtual add` and `virtual delete` in another process do to a server that runs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial

import aiohttp
import pytest

from agent.errors import UsageError
from agent.server.app import CameraServer
from agent.server.archive import Archive
from agent.server.camera import CameraSettings
from agent.server.index import Rows
from agent.server.index.rows import AccountRow, CameraRow
from tests.e2e.product import COMMAND
from tests.server.agents import Uplinks
from tests.server.conftest import Start
from tests.server.pictures import item, jpeg


async def virtual(server: CameraServer, *args: str) -> str:
    """Run the real command against the server's store; what it printed."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("virtual", *args, "--store", str(server.settings.store_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    return said


async def listed(server: CameraServer, viewer: aiohttp.ClientSession) -> list[str]:
    async with viewer.get(server.urls()[0] + "api/v1/cameras") as answer:
        return [c["name"] for c in (await answer.json())["cameras"]]


async def test_a_running_server_notices_a_camera_added_and_deleted_elsewhere(
    start: Start, http: aiohttp.ClientSession, connect: Uplinks
) -> None:
    server = await start(notes={})
    await http.get(server.urls()[0].rstrip("/") + server.join_link())
    said = await virtual(server, "add", "porch")
    begin = time.monotonic()
    while await listed(server, http) != ["porch"]:
        assert time.monotonic() - begin < 60, "not noticed"
        await asyncio.sleep(0.05)

    token = next(line.split()[1] for line in said.splitlines() if line.startswith("token"))
    uplink = await connect(server, "porch", token)
    assert (await uplink.hello())["ack"] == 0
    await uplink.put(item("porch", uplink.spool, 1, jpeg(1)))
    assert (await uplink.control("ack"))["ack"] == 1

    await virtual(server, "delete", "porch")
    assert await uplink.closed() == 4410
    assert await listed(server, http) == []
    assert not list((server.settings.store_path / "items").iterdir())
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await connect(server, "porch", token)
    assert refused.value.status == 410


async def test_own_writing_is_no_news_of_another_process(server: CameraServer) -> None:
    index = server._archive.index  # type: ignore[union-attr]
    before = await index.foreign_version()
    await server.issue_token("porch")
    assert await index.foreign_version() == before


async def test_whoever_notices_first_takes_over_all_of_it(server: CameraServer) -> None:
    """A wrong token has the cameras looked at at once: what else was changed must not be passed over for that."""
    other = Archive(server.settings.store_path)
    account = await other.index.write(lambda rows: rows.accounts.add(AccountRow("ben", "member", b"", b"")))
    await other.close()
    await server._cameras.refresh()
    assert server._accounts.get(account.id) is not None


def _enter(row: CameraRow, rows: Rows) -> None:
    rows.cameras.add(row)


def _put(row: CameraRow, rows: Rows) -> None:
    rows.cameras.put(row)


async def test_what_another_process_did_just_now_is_not_undone(server: CameraServer) -> None:
    """Its deletion would be, or its new camera would have the id of the former one."""
    await server.issue_token("porch")
    cameras = server._cameras
    other = Archive(server.settings.store_path)
    row = (await other.index.read(lambda rows: rows.cameras.find()))[0]
    for there in ([], [replace(row, camera_id="0" * 16)]):
        await other.index.write(lambda rows: rows.cameras.remove(name="porch"))
        for another in there:
            await other.index.write(partial(_enter, another))
        with pytest.raises(UsageError, match="another process has just added or deleted 'porch'"):
            await cameras.add("porch")
        assert await cameras.renew_token("porch") is None
        await cameras.change("porch", CameraSettings(pause_s=5))
        assert await other.index.read(lambda rows: rows.cameras.find()) == there
    await other.index.write(partial(_enter, replace(row, name="yard")))
    with pytest.raises(UsageError, match="'yard'"):
        await cameras.local("yard")
    await other.close()
    await cameras.refresh()
    await cameras.add("porch")
    assert await cameras.renew_token("porch")


async def test_an_end_is_not_that_of_what_another_process_made_of_the_camera(server: CameraServer) -> None:
    """It gave it more time, or deleted it and made another one of its name, and the server has not noticed yet."""
    cameras = server._cameras
    other = Archive(server.settings.store_path)
    past = CameraSettings(ends_ns=1)
    for name in ("porch", "yard"):
        await cameras.add(name)
    rows = await other.index.read(lambda rows: rows.cameras.find())
    for row, new in zip(rows, ({"settings": "{}"}, {"camera_id": "0" * 16, "settings": "{}"}), strict=True):
        cameras._adopt(replace(row, settings=past.dumps()))
        await other.index.write(partial(_put, replace(row, created_ns=7, **new)))
    await cameras.end_due()
    assert [row.created_ns for row in await other.index.read(lambda rows: rows.cameras.find())] == [7, 7]
    await other.index.write(partial(_put, replace(rows[0], camera_id="1" * 16)))
    await cameras.remove("porch")
    await cameras.refresh()
    assert [camera.name for camera in cameras.all()] == ["porch", "yard"] and not list(cameras._unerased)
    await other.close()
