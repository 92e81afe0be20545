"""The main job from end to end: a camera speaking its own protocol → what moves → stored, byte for byte."""

import asyncio
import hashlib
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.media.footage import open_footage
from agent.simulate import SimulatedCamera
from tests.e2e.product import command, film, running, stored_frames


@pytest.fixture
async def camera(tmp_path: Path) -> AsyncIterator[tuple[str, set[bytes]]]:
    """A simulated DCS-920 with a password; its URL and the digests of its pictures."""
    digests = film(tmp_path / "film")
    camera = SimulatedCamera(open_footage(str(tmp_path / "film"), 10.0), username="admin", password="hunter2")
    port = await camera.start("127.0.0.1", 0)
    yield f"http://admin:hunter2@127.0.0.1:{port}/video.cgi", digests
    await camera.close()


async def token(store: Path, name: str = "porch") -> str:
    added = await command("virtual", "add", name, "--store", str(store))
    return next(line.split()[1] for line in added.out if line.startswith("token"))


async def test_the_cameras_bytes_reach_the_servers_store(camera: tuple[str, set[bytes]], tmp_path: Path) -> None:
    url, digests = camera
    store = tmp_path / "store"
    secret = await token(store)
    async with running("server", "--port", "0", "--store", str(store)) as server:
        port = (await server.said(r"page is at http://[^:]+:(\d+)"))[1]
        to = f"ws://:{secret}@127.0.0.1:{port}"
        async with running("run", "--source", url, "--to", to, "--name", "porch") as agent:
            frames: list[tuple[int, bytes]] = []
            deadline = time.monotonic() + 30
            while len(frames) < 40 and time.monotonic() < deadline:
                await asyncio.sleep(0.2)
                frames = stored_frames(store).get("porch", [])
            assert len(frames) >= 40, f"{len(frames)} frames stored\n{agent.text()}\n{server.text()}"
            assert await agent.end() == 0
            assert "hunter2" not in agent.text() and secret not in agent.text() + server.text()
        assert await server.end() == 0
    frames = stored_frames(store)["porch"]
    assert {hashlib.sha256(data).digest() for _, data in frames} <= digests
    indices = sorted(index for index, _ in frames)
    assert len(indices) == len(set(indices)), "no frame twice"


async def test_each_camera_of_an_agent_brings_its_own_token(tmp_path: Path) -> None:
    film(tmp_path / "film", still=3, moving=0)
    store, names = tmp_path / "store", ("porch", "yard")
    for name in names:
        (tmp_path / f"{name}.token").write_text(await token(store, name))
    async with running("server", "--port", "0", "--store", str(store)) as server:
        port = (await server.said(r"page is at http://[^:]+:(\d+)"))[1]
        config = tmp_path / "config.yaml"
        source = f"{{source: {{type: file, path: {tmp_path / 'film'}, fps: 10, loop: true}}}}"
        files = tmp_path / "{camera}.token"
        config.write_text(
            f"cameras: {{{', '.join(f'{name}: {source}' for name in names)}}}\n"
            f"sinks: [{{type: websocket, url: 'ws://127.0.0.1:{port}', token_file: '{files}'}},\n"
            f"        {{type: http, url: 'http://127.0.0.1:{port}', token_file: '{files}'}}]\n"
        )
        checked = await command("check", "-c", str(config))
        assert checked.process.returncode == 0 and checked.text().count("accepted") == 4, checked.text()


async def test_with_the_plug_pulled_one_second_after_the_motion_the_server_has_the_intruder(
    camera: tuple[str, set[bytes]], tmp_path: Path
) -> None:
    url, _ = camera
    store = tmp_path / "store"
    secret = await token(store)
    async with running("server", "--port", "0", "--store", str(store)) as server:
        port = (await server.said(r"page is at http://[^:]+:(\d+)"))[1]
        config = tmp_path / "config.yaml"
        config.write_text(
            f"cameras: {{porch: {{source: {{type: mjpeg, url: '{url}'}}}}}}\n"
            f"sinks: [{{type: websocket, url: 'ws://127.0.0.1:{port}', token: {secret}}}]\n"
        )
        async with running("run", "-c", str(config)) as agent:
            await agent.said("porch: event 1 begins", 30)
            await asyncio.sleep(1.0)
            agent.process.send_signal(signal.SIGKILL)
            await agent.end(None)
        await asyncio.sleep(0.5)
        await server.end()
    intruder = [index for index, data in stored_frames(store)["porch"]]
    span = max(intruder) - min(intruder) + 1
    assert len(intruder) == span, "no hole"
    assert span >= 20 + 5, f"pre-roll and the first half second at least, got {span} frames at 10 fps"


async def test_it_ends_soon_after_sigterm_with_a_viewer(camera: tuple[str, set[bytes]], tmp_path: Path) -> None:
    import aiohttp

    url, _ = camera
    async with running("watch", url, "--port", "0", "--local", "--json") as watch:
        link = (await watch.said(r'"url":"([^"]+)"'))[1]
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            page = await http.get(link)
            assert page.status == 200
            origin = str(page.url.origin())
            async with http.ws_connect(origin + "/api/v1/cameras/mjpeg/live", headers={"Origin": origin}) as live:
                await live.send_json({"t": "live", "n": 2})
                assert (await live.receive(60)).type is aiohttp.WSMsgType.BINARY
                assert await watch.end(timeout_s=20) == 0, "a server of aiohttp's waits for a minute"


async def test_a_camera_that_goes_away_is_taken_up_again(tmp_path: Path) -> None:
    film(tmp_path / "film")
    faulty = SimulatedCamera(open_footage(str(tmp_path / "film"), 10.0), faults=("drop@15", "drop@40"))
    port = await faulty.start("127.0.0.1", 0)
    async with running("watch", f"http://127.0.0.1:{port}/video.cgi", "--port", "0", "--for", "9s", "--json") as watch:
        assert await watch.end(None, 30) == 0
    ended = watch.events()[-1]["data"]
    assert faulty.connections >= 3
    assert ended["frames"] > 45, "it went on after both"
    await faulty.close()


async def test_motion_is_found_in_pictures_that_come_ten_at_once_each_second(tmp_path: Path) -> None:
    film(tmp_path / "film")
    camera = SimulatedCamera(open_footage(str(tmp_path / "film"), 10.0), faults=["burst=10"])
    port = await camera.start("127.0.0.1", 0)
    (tmp_path / "out").mkdir()
    url = f"http://127.0.0.1:{port}/video.cgi"
    try:
        async with running("run", "--source", url, "--to", str(tmp_path / "out"), "--name", "porch") as agent:
            await agent.said("porch: event 1 begins", 30)
            assert await agent.end() == 0
    finally:
        await camera.close()
