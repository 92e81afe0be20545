"""A disarmed camera stays so when its agent starts again, also after a kill; what cannot be kept is said."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from agent.armed import Armed
from agent.server.app import CameraServer, ServerSettings
from tests.e2e.product import Process, command, running


async def test_the_word_is_kept_and_a_rotten_one_arms(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    memory = Armed(tmp_path)
    assert memory.read()
    assert all(await asyncio.gather(memory.keep(True), memory.keep(False)))
    assert not Armed(tmp_path).read(), "the last order counts"
    for rot in (b"", b"disar", b"\xff\x00", b"yes\n"):
        (tmp_path / "armed").write_bytes(rot)
        assert Armed(tmp_path).read(), rot
    assert caplog.text.count("the camera is armed") == 4
    assert not await Armed(tmp_path / "gone").keep(False) and "not kept" in caplog.text


async def the_camera(agent: Process) -> dict[str, Any]:
    """What `status` says of it; asked until the agent answers."""
    async with asyncio.timeout(60):
        while True:
            asked = await command("status", "--json")
            found = [one for line in asked.out for one in [json.loads(line)] if one["pid"] == agent.process.pid]
            if found:
                return dict(found[0]["cameras"][0])
            assert agent.process.returncode is None, agent.text()
            await asyncio.sleep(0.1)


async def ask(server: CameraServer, do: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while (camera := server._cameras.get("porch")) is None or camera.command is None:
            await asyncio.sleep(0.05)
        return await camera.command(do, {})


async def test_a_disarmed_camera_is_disarmed_after_a_restart(tmp_path: Path) -> None:
    server = CameraServer(ServerSettings(port=0, store=str(tmp_path / "store")), notes={})
    await server.start()
    try:
        to = f"ws://:{await server.issue_token('porch')}@127.0.0.1:{server.port}"
        args = ("run", "--source", "demo", "--to", to, "--name", "porch")
        async with running(*args) as agent:
            assert (await the_camera(agent))["armed"]
            assert await ask(server, "disarm") == {"ok": True, "result": {"kept": True}}
            assert not (await the_camera(agent))["armed"]
            assert await agent.end(signal.SIGKILL) == -signal.SIGKILL
        async with running(*args) as agent:
            assert not (await the_camera(agent))["armed"]
            assert "DISARMED" in (await command("status")).text()
            assert await ask(server, "arm") == {"ok": True, "result": {"kept": True}}
        async with running(*args) as agent:
            assert (await the_camera(agent))["armed"]
    finally:
        await server.close()
    kept = Path(os.environ["XDG_STATE_HOME"]) / "camera-agent" / "spool" / "porch" / "armed"
    assert kept.read_text() == "armed\n"
