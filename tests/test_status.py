"""What an agent says about itself over its control socket, and what `camera-agent status` prints of it."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from agent import control
from agent.control import Control
from agent.errors import UsageError
from tests.e2e.product import command, film, running


async def test_questions_are_answered_and_others_may_add_theirs(tmp_path: Path) -> None:
    import asyncio

    box = Control(tmp_path)
    box.add("echo", lambda body: {"said": body["word"]})
    await box.start()
    try:
        assert await asyncio.to_thread(control.ask, box.path, "echo", word="hi") == {"said": "hi"}
        assert os.stat(box.path).st_mode & 0o777 == 0o600
        with pytest.raises(UsageError, match="one of echo"):
            await asyncio.to_thread(control.ask, box.path, "shutdown")
        for bad in (b"\n", b"[]\n", b"[" * 60_000 + b"\n", b"x" * 70_000 + b"\n", b""):
            reader, writer = await asyncio.open_unix_connection(box.path)
            writer.write(bad)
            writer.write_eof()
            answer = await reader.read()
            assert answer == b"" or "error" in json.loads(answer)
            writer.close()
        assert await asyncio.to_thread(control.ask, box.path, "echo", word="still") == {"said": "still"}
    finally:
        await box.close()
    assert not box.path.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="NOT ROOT: a folder of somebody else is NOT tested")
async def test_no_socket_in_a_folder_of_somebody_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.chown(tmp_path, 65534, 65534)
    box = Control(tmp_path)
    await box.start()
    await box.close()
    assert tmp_path.exists() and not box.path.exists() and "the folder belongs to another user" in caplog.text


async def test_no_socket_at_a_path_that_is_too_long_leaves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    box = Control(tmp_path / ("long" * 30))
    await box.start()
    await box.close()
    assert "no control socket" in caplog.text and list(tmp_path.iterdir()) == []


def test_a_socket_that_nobody_listens_at(tmp_path: Path) -> None:
    path = tmp_path / "agent-1.sock"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))
    with pytest.raises(ConnectionError, match="no agent answers"):
        control.ask(path, "status")


async def test_status_of_an_agent_whose_server_is_away(tmp_path: Path) -> None:
    film(tmp_path / "film", still=5, moving=40)
    args = ("run", "--source", str(tmp_path / "film"), "--to", "ws://:secret-token@127.0.0.1:1", "--name", "porch")
    nobody = await command("status")
    assert nobody.process.returncode == 69 and "no agent" in nobody.text()
    async with running(*args) as agent:
        await agent.said("event 1 begins")
        asked = await command("status", "--json")
        assert asked.process.returncode == 69, "something is away"
        (found,) = [json.loads(line) for line in asked.out]
        (camera,) = found["cameras"]
        (sink,) = camera["sinks"]
        assert camera["name"] == "porch" and camera["up"] and camera["counters"]["events"] == 1
        assert not sink["up"] and "refused" in sink["why"].lower()
        assert sink["waiting_items"] >= 2 and sink["waiting_bytes"] > 10_000 and sink["oldest_unacknowledged_s"] >= 0
        words = (await command("status")).text()
        assert "AWAY" in words and "items wait" in words
        assert "secret-token" not in words + asked.text()
        plain = await command("status", env={"PYTHONIOENCODING": "latin-1"})
        assert plain.process.returncode == 69 and "? ws://127.0.0.1:1: AWAY" in plain.text()
