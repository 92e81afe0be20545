"""What a finished or unwanted agent leaves, and how it is delivered later."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from agent.server.app import CameraServer, ServerSettings
from tests.e2e.product import command, film, running, stored_frames
from tests.ports import free_port


async def test_a_run_that_ends_offline_says_what_waits_and_flush_delivers_it(tmp_path: Path) -> None:
    digests = film(tmp_path / "film", still=15, moving=25)
    port = free_port()
    server = CameraServer(ServerSettings(port=port, store=str(tmp_path / "store")), notes={})
    await server.start()
    token = await server.issue_token("porch")
    await server.close()
    to = f"ws://:{token}@127.0.0.1:{port}"
    run = await command("run", "--source", str(tmp_path / "film"), "--to", to, "--name", "porch", timeout_s=90)
    assert run.process.returncode == 0 and "items wait for ws://127.0.0.1" in run.text()
    assert "`camera-agent flush --to … --name porch` or the next start delivers them" in run.text()
    assert run.text().startswith("warning: a token or password in --to") and token not in run.text()
    away = await command("flush", "--to", to, "--name", "porch", "--for", "2s")
    assert away.process.returncode == 69 and "0 delivered" in away.text() and " wait (" in away.text()
    server = CameraServer(ServerSettings(port=port, store=str(tmp_path / "store")), notes={})
    await server.start()
    try:
        done = await command("flush", "--to", to, "--name", "porch")
        assert done.process.returncode == 0 and "nothing waits" in done.text(), done.text()
        again = await command("flush", "--to", to, "--name", "porch")
        assert again.process.returncode == 0 and "0 delivered" in again.text()
    finally:
        await server.close()
    frames = stored_frames(tmp_path / "store")["porch"]
    assert len(frames) > 20 and {hashlib.sha256(data).digest() for _, data in frames} <= digests
    nothing = await command("flush", "--to", to, "--name", "yard")
    assert nothing.process.returncode == 0 and "no spool" in nothing.text()


async def test_an_agent_whose_only_camera_was_deleted_ends_and_keeps_its_spool(tmp_path: Path) -> None:
    server = CameraServer(ServerSettings(port=0, store=str(tmp_path / "store")), notes={})
    await server.start()
    try:
        token = await server.issue_token("porch")
        to = f"ws://:{token}@127.0.0.1:{server.port}"
        async with running("run", "--source", "demo", "--to", to, "--name", "porch") as agent:
            while (camera := server._cameras.get("porch")) is not None and not camera.connected:
                await asyncio.sleep(0.1)
            await server.delete_camera("porch")
            assert await agent.end(None) == 0, agent.text()
            assert "deleted or has ended at the other end" in agent.text()
    finally:
        await server.close()
