"""A server that starts on a disk that others have filled to the last byte: it is looked at, and refuses items."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.media import wire
from agent.server import app
from agent.server.app import CameraServer, ServerSettings
from agent.server.ballast import NAME
from tests.faults.agent import promised
from tests.faults.rig import Rig, no_plug, rig
from tests.server.agents import Uplink, Uplinks
from tests.server.conftest import connect as connect
from tests.server.people import PASSWORD, Person, owner, person
from tests.server.pictures import frame, jpeg
from tests.server.test_http_ingest import SPOOL, Client

MIB = 1024 * 1024


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A disk of 64 MiB of its own, of which nothing is root's."""
    place = tmp_path / "disk"
    place.mkdir()
    if why := no_plug():
        pytest.skip(why.replace("POWER CUTS", "FULL DISK"))
    how = ["-t", "tmpfs", "-o", "size=64m", "tmpfs"]
    if request.param == "ext4":
        image = tmp_path / "image"
        with open(image, "wb") as f:
            f.truncate(64 * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
        how = ["-o", "loop", str(image)]
    if (mounted := subprocess.run(["mount", *how, str(place)], capture_output=True, text=True)).returncode:
        pytest.skip(f"NO FULL DISK: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> None:
    """Somebody takes every byte that is left."""
    with open(disk / "somebody's", "ab", buffering=0) as f:
        for size in (MIB, 4096, 512, 1):
            try:
                while True:
                    f.write(b"x" * size)
            except OSError:
                continue
    assert shutil.disk_usage(disk).free < 4096


async def until(true: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not (found := true()) or (not isinstance(found, bool) and not await found):
            await asyncio.sleep(0.05)


@asynccontextmanager
async def serving(disk: Path) -> AsyncIterator[CameraServer]:
    server = CameraServer(ServerSettings(store=str(disk / "store"), port=0))
    await server.start()
    try:
        yield server
    finally:
        await server.close()


async def one_kept_event(server: CameraServer, who: Person, disk: Path) -> str:
    """The camera's token, once a picture is stored that may not be deleted and the ballast is there."""
    token: str = (await who.add("porch"))["token"]
    client = Client(who.http, server, token)
    assert (await client.put(1, jpeg(1), **{"Item-Event": "3"}))[0] == 201
    (event,) = (await who.ask("GET", "/api/v1/events"))["events"]
    await who.ask("PUT", f"/api/v1/events/{event['id']}/kept", json={"kept": True})
    await until(lambda: (disk / "store" / NAME).exists())
    return token


async def test_what_works_on_a_full_disk_and_when_there_is_room_again(
    disk: Path, monkeypatch: pytest.MonkeyPatch, connect: Uplinks
) -> None:
    monkeypatch.setattr(app, "SWEEP_S", 0.2)
    async with serving(disk) as server, owner(server) as who:
        token = await one_kept_event(server, who, disk)
    fill(disk)
    async with serving(disk) as server, person(server) as who:
        assert not (disk / "store" / NAME).exists(), "it went, so that the index could be opened"
        fill(disk)  # somebody takes that, too
        await who.ask("POST", "/login", data={"user": "owner", "password": PASSWORD})
        await who.ask("GET", "/")
        assert [c["name"] for c in (await who.ask("GET", "/api/v1/cameras"))["cameras"]] == ["porch"]
        async with who.http.get(f"{who.base}/api/v1/cameras/porch/items/{SPOOL}-1") as answer:
            assert (answer.status, await answer.read()) == (200, jpeg(1))
        client = Client(who.http, server, token)
        status, body, headers = await client.put(2, jpeg(2))
        assert (status, body["code"], headers["Retry-After"]) == (507, "full", "10")
        assert (await client.put(1, jpeg(1), **{"Item-Event": "3"}))[:2] == (200, {"ack": 1, "dup": True})
        await live(server, who, await connect(server, "porch", token))
        (disk / "somebody's").unlink()

        async def taken() -> bool:
            return (await client.put(2, jpeg(2)))[0] == 201

        await until(taken)
        await until(lambda: (disk / "store" / NAME).exists())


async def live(server: CameraServer, who: Person, up: Uplink) -> None:
    await up.hello()
    async with who.http.ws_connect(f"{who.base}/api/v1/cameras/porch/live", headers={"Origin": who.base}) as look:
        await look.send_json({"t": "live", "n": 1})
        await up.control("live")
        await up.ws.send_bytes(wire.pack_live(frame(7)))
        message = wire.unpack((await look.receive(30)).data)
        assert isinstance(message, wire.LiveMessage) and bytes(message.data) == frame(7).data


async def test_what_may_go_goes_and_makes_room(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "SWEEP_S", 0.2)
    async with serving(disk) as server, owner(server) as who:
        token = await one_kept_event(server, who, disk)
        for seq in range(2, 42):
            big = jpeg(seq) + os.urandom(200_000)
            assert (await Client(who.http, server, token).put(seq, big))[0] == 201
    fill(disk)
    async with serving(disk) as server, person(server) as who:
        client = Client(who.http, server, token)

        async def taken() -> bool:
            return (await client.put(100, jpeg(100)))[0] == 201

        await until(taken)
        assert (disk / "store" / "items" / "porch" / SPOOL / "0" / "1.jpg").exists(), "what is kept stays"


def begun(one: Rig, disk: Path, killed: str) -> None:
    """Items arrived, then one side was killed and its disk filled."""
    for side in ("server", "agent"):
        one.start(side)
    one.listening()
    one.more(3)
    one.kill(killed)
    fill(disk)


def test_an_agent_whose_server_is_killed_on_a_full_disk(tmp_path: Path, disk: Path) -> None:
    """The server is killed, the disk is full, it is started and killed again; then there is room."""
    with rig(tmp_path, store=disk / "store") as one:
        begun(one, disk, "server")
        for _ in range(2):
            one.start("server")
            one.listening()
            fill(disk)
            one.more(2)
            assert one.alive("server") and one.alive("agent")
            one.kill("server")
        (disk / "somebody's").unlink()
        assert one.drain(), "not everything arrived"
        found = one.judge()
    assert found["ok"] and found["told"] == 0 and found["promised"] >= 7, found


def test_an_agent_starts_on_a_full_disk_and_goes_on_when_there_is_room(tmp_path: Path, disk: Path) -> None:
    with rig(tmp_path, spool=disk / "spool") as one:
        begun(one, disk, "agent")
        one.start("agent")
        before, said = promised(one.ledger), one._log("agent")
        for _ in range(600):  # its items wait in memory, or take the places of those that arrived
            if "items wait in memory" in said.read_text() or promised(one.ledger) > before + 20:
                break
            time.sleep(0.1)
        else:
            raise AssertionError("it did nothing")
        assert one.alive("agent")
        (disk / "somebody's").unlink()
        one.more(10)
        assert one.drain(), "not everything arrived"
        found = one.judge()
    # A spool of a few blocks that cannot grow gives up its oldest items for new ones: each is declared, else lost.
    # What arrived from memory, before the disk took it, was never promised: more may be stored than was.
    assert found["ok"] and found["promised"] >= 13, found
