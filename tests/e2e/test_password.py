"""A camera's password reaches the camera from wherever it is kept, and nobody else."""

import os
import pty
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.media.footage import open_footage
from agent.simulate import SimulatedCamera
from tests.e2e.product import COMMAND, ROOT, command, film


@pytest.fixture
async def camera(tmp_path: Path) -> AsyncIterator[int]:
    film(tmp_path / "film", still=5, moving=0)
    simulated = SimulatedCamera(open_footage(str(tmp_path / "film"), 10.0), username="admin", password="p@ss/wörd")
    yield await simulated.start("127.0.0.1", 0)
    await simulated.close()


def snapshot(port: int, tmp_path: Path, user: str = "admin") -> tuple[str, ...]:
    return ("snapshot", f"http://{user}@127.0.0.1:{port}/video.cgi", "-o", str(tmp_path / "now.jpg"))


async def test_from_a_file(camera: int, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("p@ss/wörd\n")
    done = await command(*snapshot(camera, tmp_path), "--password-file", str(tmp_path / "secret"))
    assert done.process.returncode == 0, done.text()
    assert (tmp_path / "now.jpg").exists() and "wörd" not in done.text() and "warning" not in done.text()


async def test_from_the_environment(camera: int, tmp_path: Path) -> None:
    done = await command(*snapshot(camera, tmp_path), env={"CAMERA_AGENT_PASSWORD": "p@ss/wörd"})
    assert done.process.returncode == 0, done.text()
    wrong = await command(*snapshot(camera, tmp_path), env={"CAMERA_AGENT_PASSWORD": "wrong"})
    assert wrong.process.returncode == 77 and "wrong" not in wrong.text()


async def test_in_the_url_it_works_and_is_warned_about(camera: int, tmp_path: Path) -> None:
    done = await command(*snapshot(camera, tmp_path, "admin:p%40ss%2Fw%C3%B6rd"))
    assert done.process.returncode == 0, done.text()
    assert "warning: a password in a URL" in done.text() and "p%40ss" not in done.text()


async def test_it_is_asked_for_on_a_terminal(camera: int, tmp_path: Path) -> None:
    import asyncio

    ours, theirs = pty.openpty()
    child = await asyncio.create_subprocess_exec(
        *COMMAND, *snapshot(camera, tmp_path), stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT
    )
    os.close(theirs)
    seen = b""
    while b"password of admin at 127.0.0.1" not in seen:
        seen += await asyncio.to_thread(os.read, ours, 4096)
    os.write(ours, "p@ss/wörd\n".encode())
    while child.returncode is None:
        try:
            seen += await asyncio.wait_for(asyncio.to_thread(os.read, ours, 4096), 20)
        except OSError:
            await child.wait()
    os.close(ours)
    assert child.returncode == 0, seen
    assert "wörd".encode() not in seen and (tmp_path / "now.jpg").exists()


async def test_a_file_that_is_not_there(camera: int, tmp_path: Path) -> None:
    done = await command(*snapshot(camera, tmp_path), "--password-file", str(tmp_path / "none"))
    assert done.process.returncode == 78 and f"{tmp_path / 'none'}: No such file" in done.text()
