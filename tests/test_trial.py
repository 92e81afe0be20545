"""`check`, `snapshot` and `cameras`: a camera tried once, for real, and what is said of it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent import check, trial
from agent.app import AgentConfig, CameraConfig
from agent.errors import PermanentError, TransientError
from agent.frame import Codec, Frame
from agent.media import jpeg as jpegs_of
from agent.media.footage import open_footage
from agent.media.size import size_of
from agent.simulate import SimulatedCamera
from agent.sources import Publish, Source
from agent.sources.mjpeg import MjpegSource
from tests.discover import responders
from tests.discover.test_network import description
from tests.pictures import avi, jpegs, raw_server

PICTURES = jpegs(6)
MULTIPART = b"Content-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n"


@pytest.fixture
async def camera(tmp_path: Path) -> AsyncIterator[SimulatedCamera]:
    (tmp_path / "film.avi").write_bytes(avi(PICTURES))
    cam = SimulatedCamera(open_footage(tmp_path / "film.avi"), fps=20, username="admin", password="pw")
    await cam.start()
    yield cam
    await cam.close()


def url(port: int, login: str = "admin:pw@") -> str:
    return f"http://{login}127.0.0.1:{port}/video.cgi"


async def command(*args: str) -> tuple[int, bytes, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent.cli", *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out, err.decode()


async def checked(*sources: Source, **events: Any) -> tuple[int, list[str]]:
    said: list[str] = []
    cameras = tuple(CameraConfig(f"cam{i}", s) for i, s in enumerate(sources))
    return await check.check_all(AgentConfig(cameras), said.append), said


async def test_a_snapshot_is_the_cameras_own_picture(camera: SimulatedCamera, tmp_path: Path) -> None:
    file = tmp_path / "out" / "picture.jpg"
    file.parent.mkdir()
    code, _, said = await command("snapshot", url(camera.port), "-o", str(file), "--after", "0.2")
    assert code == 0 and file.read_bytes() in PICTURES and "64x48" in said and "pw" not in said
    assert [p.name for p in file.parent.iterdir()] == ["picture.jpg"]
    code, out, _ = await command("snapshot", url(camera.port), "-o", "-", "--after", "0")
    assert code == 0 and out in PICTURES


async def test_a_snapshot_goes_where_its_name_leads(camera: SimulatedCamera, tmp_path: Path) -> None:
    """A link to a file, a name as long as names get, a pipe: all stay what they are."""
    (tmp_path / "link.jpg").symlink_to("file.jpg")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    long = "x" * 251 + ".jpg"
    for name in ("link.jpg", long, "pipe"):
        code, _, said = await command("snapshot", url(camera.port), "-o", str(tmp_path / name), "--after", "0")
        assert code == 0, said
    assert os.read(reader, 1 << 16) in PICTURES
    os.close(reader)
    assert (tmp_path / long).read_bytes() in PICTURES and (tmp_path / "file.jpg").read_bytes() in PICTURES
    assert (tmp_path / "link.jpg").is_symlink() and (tmp_path / "pipe").is_fifo()


async def test_snapshots_that_cannot_be(camera: SimulatedCamera, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    cases = [
        (("nonsense", "-o", "x"), 66, "no such camera: 'nonsense'"),
        ((url(camera.port, "admin:mistaken@"), "-o", "x"), 77, "refuses this user or password"),
        ((url(1), "-o", "x", "--timeout", "0.6"), 69, "cannot connect"),
        ((url(camera.port), "-o", str(tmp_path / "none" / "x.jpg"), "--after", "0"), 73, "no such file or directory"),
    ]
    for args, code, text in cases:
        done, _, said = await command("snapshot", *args)
        assert (done, text in said) == (code, True), said
        errors = [line for line in said.splitlines() if not line.startswith("warning: a password in a URL")]
        assert "mistaken" not in said and len(errors) == 1
    assert (tmp_path / "x").read_bytes() == b"old"


async def test_a_snapshot_waits_for_a_camera_that_comes_back(tmp_path: Path) -> None:
    (tmp_path / "film.avi").write_bytes(avi(PICTURES))
    cam = SimulatedCamera(open_footage(tmp_path / "film.avi"), fps=20)
    port = await cam.start()
    await cam.close()
    run = asyncio.create_task(trial.picture(MjpegSource(url(port, "")), 0, 30))
    await asyncio.sleep(0.3)
    again = SimulatedCamera(open_footage(tmp_path / "film.avi"), fps=20)
    await again.start(port=port)
    assert (await run).data in PICTURES
    await again.close()


def test_a_picture_without_tables_becomes_a_file_that_viewers_show() -> None:
    from agent.media.spoil import without_tables

    frame = Frame(Codec.JPEG, without_tables(PICTURES[0]), True, 0, 0, 0)
    data = trial.as_jpeg(frame)
    assert np.array_equal(
        cv2.imdecode(np.frombuffer(data, np.uint8), 1), cv2.imdecode(np.frombuffer(PICTURES[0], np.uint8), 1)
    )
    with pytest.raises(PermanentError, match="cannot be shown"):
        trial.as_jpeg(Frame(Codec.JPEG, b"\xff\xd8\xff", True, 0, 0, 0))


def coded(codec: str, count: int, gop: int) -> list[tuple[bytes, bool]]:
    """Access units of H.264 with parameter sets at each keyframe, and whether they are one."""
    av = pytest.importorskip("av")
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "yuv420p", Fraction(1, 10)
    encoder.gop_size = gop
    encoder.options = {"tune": "zerolatency", "preset": "ultrafast"}
    packets = []
    for i in range(count):
        image = cv2.imdecode(np.frombuffer(PICTURES[i % 6], np.uint8), 1)
        frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p")
        frame.pts = i
        packets += encoder.encode(frame)
    return [(bytes(p), p.is_keyframe) for p in packets]


@dataclass(frozen=True)
class Coded:
    """Plays access units a tenth of a second apart, as fast as it can, then waits."""

    units: list[tuple[bytes, bool]]
    label: str = "h264"

    async def run(self, publish: Publish) -> None:
        for i, (data, keyframe) in enumerate(self.units):
            publish(Frame(Codec.H264, data, keyframe, i * 10**8, i * 10**8, i))
            await asyncio.sleep(0)
        await asyncio.Event().wait()


async def test_keyframes_further_apart_than_the_pre_roll_are_told() -> None:
    code, said = await checked(Coded(coded("libx264", 80, 35)), Coded(coded("libx264", 80, 10)))
    assert code == 0 and "64x48, 10.0 fps" in said[0] and said[0].endswith(", H264")
    assert said[1].startswith("note  cam0: a keyframe each 3.5 s only: pre_roll_s is 2, but events begin up to 3.5 s")
    assert said[3] == "note  cam1: a keyframe each 1.0 s"


async def test_a_keyframe_becomes_a_jpeg() -> None:
    frame = await trial.picture(Coded(coded("libx264", 30, 10)), 0, 10)
    assert jpegs_of.complete(trial.as_jpeg(frame)) and size_of(frame) == (64, 48)


async def test_check_tells_size_rate_login_and_refusals(camera: SimulatedCamera) -> None:
    code, said = await checked(
        MjpegSource(url(camera.port)), MjpegSource(url(camera.port, "admin:wrong@")), MjpegSource(url(1))
    )
    assert code == 77
    assert said[0].startswith(f"ok    cam0: http://127.0.0.1:{camera.port}/video.cgi: 64x48, ")
    assert " fps, " in said[0] and said[1] == "note  cam0: lets in by Basic"
    assert said[2].startswith("fail  cam1: ") and "refuses this user or password" in said[2]
    assert said[3].startswith("fail  cam2: ") and "cannot connect" in said[3]
    assert "wrong" not in "".join(said)


async def test_check_tells_a_clock_that_is_wrong_and_a_door_that_is_open() -> None:
    async def script(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        date = format_datetime(datetime.now(UTC) - timedelta(seconds=90), usegmt=True).encode()
        writer.write(b"HTTP/1.0 200 OK\r\nDate: " + date + b"\r\n" + MULTIPART)
        for i in range(200):
            p = PICTURES[i % 6]
            writer.write(b"--frame\r\nContent-Length: %d\r\n\r\n" % len(p) + p + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with raw_server(script) as port:
        code, said = await checked(MjpegSource(url(port)))
    assert code == 0
    assert said[1] in [f"note  cam0: its clock is {s} s behind" for s in (89, 90, 91)]
    assert said[2] == "note  cam0: shows its pictures without a login, too"


async def test_a_camera_without_pictures_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "LIMIT_S", 0.3)
    code, said = await checked(Coded([]))
    assert (code, said) == (69, ["fail  cam0: h264: no picture within 0.3 s"])
    with pytest.raises(TransientError, match=r"no picture within 0\.2 s"):
        await trial.picture(Coded([]), 0, 0.2)


async def test_cameras_as_a_table_and_as_json() -> None:
    async with responders.upnp(description()):
        code, out, _ = await command("cameras", "--seconds", "1.5")
        assert code == 0
        assert b"source: {type: dcs920, host: 127.0.0.1, password_file: FILE}" in out
        code, out, _ = await command("cameras", "--json", "--seconds", "1.5")
    mine = [c for c in map(json.loads, out.splitlines()) if c["where"] == "127.0.0.1"]
    assert [(c["way"], c["name"], c["what"]) for c in mine] == [("ssdp", "DCS-920", "D-Link DCS-920")]
