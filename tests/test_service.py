"""As a service: the unit is valid, and systemd hears what it must, at the right time."""

import asyncio
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import app, pulse, sources
from agent.frame import Codec, Decision, Frame, ItemType, Worth
from agent.media.footage import open_footage
from agent.pipeline import Pipeline
from agent.pulse import LIVELY_S, STUCK_S, TRYING_S, Pulse
from agent.simulate import SimulatedCamera
from agent.sources.mjpeg import MjpegSource
from agent.spool.disk import Disk
from agent.spool.store import Spool
from tests.e2e.product import ROOT, film, running

UNIT = ROOT / "packaging" / "camera-agent.service"


def test_the_unit_is_valid(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed here")
    # verify looks for the program too: stand it in where the package has not been installed
    unit = tmp_path / UNIT.name
    program = tmp_path / "camera-agent"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = UNIT.read_text()
    assert "ExecStart=/usr/bin/camera-agent run " in text
    unit.write_text(text.replace("/usr/bin/camera-agent", str(program)))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    # of the machine's own units, which it reads too, others may complain
    said = [line for line in (done.stdout + done.stderr).splitlines() if "camera-agent" in line]
    assert not said and done.returncode == 0, done.stderr


class Listener:
    """The service manager's end of $NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.heard: list[tuple[float, str]] = []

    async def hear(self, start: str, timeout_s: float = 60) -> tuple[float, str]:
        """The first message from now on that begins so, and when it came."""
        async with asyncio.timeout(timeout_s):
            while True:
                data = await asyncio.get_running_loop().sock_recv(self.socket, 4096)
                self.heard.append((time.monotonic(), data.decode()))
                if data.decode().startswith(start):
                    return self.heard[-1]

    def drain(self) -> list[str]:
        """What came since."""
        said = []
        try:
            while True:
                said.append(self.socket.recv(4096).decode())
        except BlockingIOError:
            return said


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(tmp_path / "notify")
    yield listener
    listener.socket.close()


def environment(systemd: Listener, watchdog_s: float) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": str(round(watchdog_s * 1e6))}


async def test_ready_with_the_first_frame_then_status_and_watchdog(tmp_path: Path, systemd: Listener) -> None:
    film(tmp_path / "film", moving=0)
    camera = SimulatedCamera(open_footage(str(tmp_path / "film"), 10.0))
    port = await camera.start("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port}/video.cgi"
    try:
        args = ("run", "--source", url, "--to", "ws://127.0.0.1:1", "--name", "porch")
        async with running(*args, env=environment(systemd, 1.0)) as agent:
            while not camera.frames_sent:
                await asyncio.sleep(0.05)
            first_s = time.monotonic()
            ready_s, _ = await systemd.hear("READY=1")
            assert ready_s - first_s < 8, "at the first picture, not after ten seconds"
            _, status = await systemd.hear("STATUS=porch: ")
            assert "fps" in status and "not connected: ws://127.0.0.1:1" in status
            await systemd.hear("WATCHDOG=1")
            await systemd.hear("WATCHDOG=1")
            agent.process.terminate()
            await systemd.hear("STOPPING=1")
            assert await agent.end(None) == 0
    finally:
        await camera.close()


async def test_without_a_camera_ready_comes_after_ten_seconds_and_says_what_is_missing(systemd: Listener) -> None:
    args = ("run", "--source", "http://127.0.0.1:1/video.cgi", "--to", "ws://127.0.0.1:1")
    async with running(*args, env=environment(systemd, 60)) as agent:
        await agent.said("127.0.0.1:1")
        tried_s = time.monotonic()
        ready_s, _ = await systemd.hear("READY=1")
        assert ready_s - tried_s > 8
        _, status = await systemd.hear("STATUS=")
        assert "http://127.0.0.1:1/video.cgi" in status
        assert await agent.end() == 0


class Mute:
    """A camera that never sends anything."""

    label = "mute"

    async def run(self, publish: object) -> None:
        await asyncio.Event().wait()


def test_the_watchdog_starves_when_nothing_moves() -> None:
    pipeline = Pipeline("porch", Mute(), [], analyse=None)
    pulse = Pulse([pipeline])
    assert pulse.beats(0.0)
    pipeline._publish(Frame(Codec.JPEG, b"\xff\xd8\xff\xd9", True, 0, 0, 0))
    assert pulse.beats(1.0) and pulse.beats(LIVELY_S)
    assert not pulse.beats(1.0 + LIVELY_S + 1), "it is up, but no frame came"
    patient = Pulse([pipeline], {"porch": sources.silence_s(MjpegSource("http://x/", poll_s=300.0))})
    assert patient.beats(0.0) and patient.beats(309.0 + LIVELY_S), "a picture each five minutes was asked for"
    assert not patient.beats(311.0 + LIVELY_S)
    pipeline.health.up = False
    assert pulse.beats(1.0 + LIVELY_S + 1), "away: a try counts, and is given longer"
    assert not pulse.beats(1.0 + TRYING_S + 1), "not even tries"


def test_the_watchdog_starves_when_a_sink_is_up_and_nothing_arrives() -> None:
    pipeline = Pipeline("porch", Mute(), [Mute()], analyse=None)
    pipeline.ended.set()
    pulse, (way,) = Pulse([pipeline]), pipeline.ways
    way.health.up = True
    assert pulse.beats(0.0) and pulse.beats(10 * STUCK_S), "idle"
    pipeline.spool.put(ItemType.CLIP, 1, 0, b"x", Worth.HEAD)
    pipeline.spool.put(ItemType.CLIP, 1, 0, b"x", Worth.HEAD)
    way.outbox.ack(1)
    assert pulse.beats(11 * STUCK_S), "something arrived"
    assert not pulse.beats(12 * STUCK_S + 1), "and then nothing more, though it waits"
    way.health.up = False
    way.health.progress += 1
    assert pulse.beats(12 * STUCK_S + 2), "away and trying: an outage is no hang"


def test_the_watchdog_starves_when_nobody_judges_the_pictures(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = Pipeline("porch", Mute(), [], analyse=lambda frame: Decision(False))
    pulse = Pulse([pipeline])
    assert pulse.beats(0.0) and pulse.beats(10 * TRYING_S - 1) is False, "no camera, and no tries"

    def picture(now_s: float) -> bool:
        pipeline._publish(Frame(Codec.JPEG, b"\xff\xd8\xff\xd9", True, round(now_s * 1e9), 0, round(now_s)))
        return pulse.beats(now_s)

    assert picture(1000.0) and picture(1020.0)
    caplog.clear()
    assert not picture(1000.0 + LIVELY_S + 1), "pictures come, and none was judged"
    assert not picture(1000.0 + LIVELY_S + 2) and caplog.text.count("porch: motion detection does nothing") == 1
    pipeline.counters.analysed += 1
    assert picture(1000.0 + LIVELY_S + 3)
    pipeline.health.up = False
    pipeline.health.progress += 1
    assert pulse.beats(1000.0 + 2 * LIVELY_S + 4), "no pictures, nothing to judge"


async def test_the_watchdog_starves_when_the_spools_writer_is_dead(tmp_path: Path) -> None:
    spool = Spool("porch", Disk(tmp_path, 1 << 20, (), 0.0))
    pipeline = Pipeline("porch", Mute(), [], analyse=None, spool=spool)
    pipeline.ended.set()
    pulse = Pulse([pipeline])
    assert pulse.beats(0.0)
    spool._jobs.put(None)  # as if a bug had ended it
    await asyncio.to_thread(spool._writer.join)
    spool.put(ItemType.CLIP, 1, 0, b"x", Worth.HEAD)
    assert pulse.beats(1.0) and not pulse.beats(1.0 + STUCK_S)
    spool.write_errors += 1
    assert pulse.beats(2.0 + STUCK_S), "a sick disk that is tried again is no hang"
    await spool.close()


async def test_a_real_agent_whose_detector_hangs_is_not_kept_alive(
    tmp_path: Path, systemd: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything else goes on: the camera is up, live view works. systemd must end it all the same."""
    monkeypatch.setattr(pulse, "LIVELY_S", 1.0)
    for name, value in environment(systemd, 0.4).items():
        monkeypatch.setenv(name, value)
    release = threading.Event()

    def hang(self: app.Analyser, frame: Frame) -> Decision:
        release.wait()
        return Decision(False)

    monkeypatch.setattr(app.Analyser, "__call__", hang)
    agent = app.Agent(app.AgentConfig((app.CameraConfig("porch", sources.from_text("demo")),)))
    until = asyncio.Event()
    run = asyncio.create_task(agent.run(until))
    try:
        await systemd.hear("WATCHDOG=1")
        async with asyncio.timeout(60):
            while "porch: motion detection does nothing" not in caplog.text:
                await asyncio.sleep(0.05)
        systemd.drain()
        while agent.pipelines[0].counters.frames < 60:
            await asyncio.sleep(0.05)
        assert not [text for text in systemd.drain() if text == "WATCHDOG=1"], "only STATUS"
        release.set()
        await systemd.hear("WATCHDOG=1")
    finally:
        release.set()
        until.set()
        await run
        await agent.close()
