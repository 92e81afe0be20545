"""Cameras that the server fetches by itself: the simulated DCS-920 and settings that are refused."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from agent.errors import UsageError
from agent.server.ingest.pull import source_of
from tests.e2e.product import COMMAND
from tests.pictures import jpeg as noisy
from tests.server.conftest import Start
from tests.server.people import owner


async def test_a_pulled_camera_is_live_comes_back_and_ends_with_its_deletion(start: Start, tmp_path: Path) -> None:
    film = tmp_path / "film"
    film.mkdir()
    for n in range(10):
        (film / f"{n}.jpg").write_bytes(noisy(n))
    camera = await asyncio.create_subprocess_exec(
        *(*COMMAND, "simulate", str(film), "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert camera.stdout is not None
    try:
        line = (await camera.stdout.readline()).decode()
        address = line.split("http://")[1].split()[0].rstrip("/")
        server = await start()
        async with owner(server) as who:
            made = await who.add("porch", pull=f"http://{address}")
            async with asyncio.timeout(60):
                while (await who.ask("GET", "/api/v1/cameras/porch"))["state"] != "up":
                    await asyncio.sleep(0.1)
            async with who.http.get(who.base + "/api/v1/cameras/porch/latest.jpg") as answer:
                assert await answer.read() in [noisy(n) for n in range(10)]
            await who.ask("DELETE", "/api/v1/cameras/porch", 204)
            assert not server._puller._tasks and made["name"] == "porch"
    finally:
        camera.terminate()
        await camera.wait()


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "demo", "0", "/dev/video0", "webcam://0", "gopher://x", sys.argv[0]]
)
def test_nothing_but_the_network_is_pulled(url: str) -> None:
    with pytest.raises(UsageError, match="on the network"):
        source_of(url)


async def test_settings_that_name_the_address_as_it_is_told_keep_its_login(start: Start) -> None:
    server = await start()
    async with owner(server) as who:
        await who.add("porch", pull="http://admin:hunter2@127.0.0.1:9/video.cgi")
        told = (await who.ask("GET", "/api/v1/cameras/porch"))["settings"]["pull"]
        assert told == "http://127.0.0.1:9/video.cgi"
        camera = server._cameras.get("porch")
        assert camera is not None
        await who.ask("PUT", "/api/v1/cameras/porch", json={"name": "porch", "pull": told, "retention_days": 2})
        assert camera.settings.pull == "http://admin:hunter2@127.0.0.1:9/video.cgi"
        assert camera.settings.retention_days == 2
        await who.ask("PUT", "/api/v1/cameras/porch", json={"name": "porch", "pull": "http://127.0.0.1:8/video.cgi"})
        assert camera.settings.pull == "http://127.0.0.1:8/video.cgi"
