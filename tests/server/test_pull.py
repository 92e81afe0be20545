"""Cameras that the server fetches by itself: the simulated DCS-920 and settings that are refused."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.errors import UsageError
from agent.server.ingest import pull
from agent.server.ingest.pull import source_of
from tests.e2e.product import COMMAND, command
from tests.pictures import jpeg as noisy
from tests.ports import free_port
from tests.server.conftest import Start
from tests.server.people import Person, invited, owner


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


async def test_why_a_camera_cannot_be_fetched_is_told_until_it_can(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By the API to its owner alone, on the page, and by the command, with no password in it."""
    monkeypatch.setattr(pull, "NOTE_S", 0.0)
    film = tmp_path / "film"
    film.mkdir()
    (film / "0.jpg").write_bytes(noisy(0))
    port = free_port()
    server = await start()

    async def shown() -> dict[str, Any]:
        said = await command("virtual", "show", "porch", "--json", "--store", str(tmp_path / "store"))
        return dict(json.loads(said.text()))

    async with owner(server) as who:
        await who.add("porch", pull=f"http://admin:hunter2@127.0.0.1:{port}/video.cgi")
        error = await told(who, lambda error: error is not None)
        assert "refused" in error and "hunter2" not in error
        assert (await shown())["pull_error"] == error
        lines = await command("virtual", "show", "porch", "--store", str(tmp_path / "store"))
        assert f"trouble    {error}" in lines.text()
        async with invited(server, who, "ben", "porch") as viewer:
            assert (await viewer.ask("GET", "/api/v1/cameras/porch"))["pull_error"] is None
        camera = await asyncio.create_subprocess_exec(
            *(*COMMAND, "simulate", str(film), "--port", str(port), "--user", "admin", "--password", "hunter2"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await told(who, lambda error: error is None)
            assert (await shown())["pull_error"] is None
        finally:
            camera.terminate()
            await camera.wait()
        error = await told(who, lambda error: error is not None)
        await who.ask("PUT", "/api/v1/cameras/porch", json={"name": "porch"})
        assert (await who.ask("GET", "/api/v1/cameras/porch"))["pull_error"] is None, "it is not fetched any more"
    caplog.clear()


async def told(who: Person, fits: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(60):
        while not fits(error := (await who.ask("GET", "/api/v1/cameras/porch"))["pull_error"]):
            await asyncio.sleep(0.05)
    return error


async def test_nothing_is_noted_of_a_camera_that_another_process_has_deleted(start: Start) -> None:
    server = await start()
    await server.issue_keys("porch")
    camera, index = server._cameras.get("porch"), server._archive.index  # type: ignore[union-attr]
    assert camera is not None
    await index.write(lambda rows: rows.cameras.remove(name="porch"))
    await server._cameras.note_pull(camera, "refused")
    assert await index.read(lambda rows: rows.cameras.find()) == []


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
