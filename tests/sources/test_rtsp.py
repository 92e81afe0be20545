"""RTSP cameras, simulated and Debian's own server: access units arrive as they were, and every end has its line."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent import sources
from agent.app import AgentConfig, CameraConfig
from agent.check import check_all
from agent.errors import ConfigError, PermanentError, TransientError, UsageError
from agent.frame import Codec, Frame
from agent.media import h264, jpeg
from agent.media.film import Unit
from agent.privacy import PrivacySettings
from agent.sources.file import FileSource
from agent.sources.rtsp import RtspSource
from tests.fakes.rtsp import RtspCamera
from tests.pictures import collect
from tests.videos import film, places, units

SERVER = Path(__file__).parents[1] / "fakes" / "gst_rtsp_server.py"
SYSTEM_PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> list[Unit]:
    return units(film(tmp_path_factory.mktemp("clip") / "a.mp4", 60))


def nals(frames: list[Frame]) -> list[list[bytes]]:
    return [h264.split(f.data) for f in frames]


def pictures(codec: Codec, data: bytes) -> list[bytes]:
    """The NAL units that are coded pictures."""
    slices = range(6) if codec is Codec.H264 else range(32)
    return [n for n in h264.split(data) if h264.unit_type(codec, n[0]) in slices]


def without_sets(unit: Unit) -> Unit:
    pictures = b"".join(h264.START + n for n in h264.split(unit.data) if n[0] & 31 not in (7, 8))
    return replace(unit, data=pictures)


async def test_access_units_arrive_as_the_camera_sent_them(clip: list[Unit]) -> None:
    async with RtspCamera(clip) as camera:
        frames, error = await collect(RtspSource(camera.url), 60, 20)
    assert error is None
    assert nals(frames[:60]) == [h264.split(u.data) for u in clip]
    assert [f.index for f in frames[:60]] == list(range(60))
    assert [f.gop for f in frames[:25]] == [n % 10 for n in range(25)]
    assert all(f.keyframe == (f.gop == 0) for f in frames)
    for frame in frames:
        assert frame.prior is None if frame.keyframe else frame.prior is not None and frame.prior.gop == frame.gop - 1
    assert all(a.pts_ns < b.pts_ns for a, b in pairwise(frames))


async def test_parameter_sets_that_only_the_description_has_come_before_each_keyframe(clip: list[Unit]) -> None:
    bare = [without_sets(u) for u in clip]
    async with RtspCamera(clip) as camera:
        camera.units = bare
        camera._sdp = RtspCamera(clip)._sdp  # type: ignore[method-assign]
        frames, _ = await collect(RtspSource(camera.url), 15, 20)
    for frame in (f for f in frames if f.keyframe):
        assert h264.parameter_sets(Codec.H264, frame.data).complete


async def test_a_run_begins_with_a_keyframe_though_the_stream_does_not(clip: list[Unit]) -> None:
    async with RtspCamera(clip[4:]) as camera:
        frames, _ = await collect(RtspSource(camera.url), 12, 20)
    assert frames[0].keyframe and frames[0].index == 0
    assert h264.split(frames[0].data) == h264.split(clip[10].data)


async def test_another_picture_size_begins_a_new_run(clip: list[Unit], tmp_path: Path) -> None:
    large = units(film(tmp_path / "b.mp4", 20, size=(640, 480)))
    async with RtspCamera([*clip[:20], *large]) as camera:
        frames, error = await collect(RtspSource(camera.url), 40, 20)
    assert error is None
    assert [f.index for f in frames[:40]] == [*range(20), *range(20)]
    assert frames[20].keyframe and frames[20].prior is None


async def test_what_the_description_says_is_over_with_newer_parameter_sets(clip: list[Unit], tmp_path: Path) -> None:
    """They come with every other keyframe, the description is of another picture size."""
    large = units(film(tmp_path / "b.mp4", 40, size=(640, 480)))
    some = [without_sets(u) if n // 10 % 2 else u for n, u in enumerate(large)]
    async with RtspCamera(some, fps=200) as camera:
        camera._sdp = RtspCamera(clip)._sdp  # type: ignore[method-assign]
        frames, _ = await collect(RtspSource(camera.url), 40, 20)
    assert [f.index for f in frames[:40]] == list(range(40))
    assert {h264.parameter_sets(Codec.H264, f.data).size() for f in frames if f.keyframe} == {(640, 480)}


async def test_parameter_sets_that_go_to_and_fro_make_no_event_of_each_change(
    clip: list[Unit], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    large = units(film(tmp_path / "b.mp4", 60, size=(640, 480)))
    both = [u for n in range(0, 60, 10) for u in (*clip[n : n + 10], *large[n : n + 10])]
    async with RtspCamera(both, fps=200) as camera:
        frames, error = await collect(RtspSource(camera.url), 100, 20)
    assert error is None and sum(f.index == 0 for f in frames) == 4
    sizes = {h264.parameter_sets(Codec.H264, f.data).size() for f in frames[40:] if f.keyframe}
    assert len(sizes) == 1 and caplog.text.count("go to and fro") == 1


async def test_times_survive_a_wrap_of_rtp_and_a_clock_that_was_set(clip: list[Unit]) -> None:
    def stamp(n: int) -> int:
        return 2**32 - 20 * 3600 + n * 3600 + (90_000 * 3000 if n >= 40 else 0)

    async with RtspCamera(clip, 25, stamp) as camera:
        frames, error = await collect(RtspSource(camera.url), 60, 20)
    assert error is None and [f.index for f in frames[:60]] == list(range(60))
    span_s = (frames[59].pts_ns - frames[0].pts_ns) / 1e9
    assert all(a.pts_ns < b.pts_ns for a, b in pairwise(frames)) and 1.5 < span_s < 15


async def test_a_camera_that_dies_and_comes_back(clip: list[Unit]) -> None:
    camera = RtspCamera(clip, die_after=30)
    async with camera:
        frames, error = await collect(RtspSource(camera.url), 0, 20)
        assert type(error) is TransientError and "ended the stream" in str(error)
        assert len(frames) >= 29
    _, error = await collect(RtspSource(camera.url), 0, 20)
    assert type(error) is TransientError and str(error) == f"{RtspSource(camera.url).label}: connection refused"
    camera.die_after = None
    async with camera:
        frames, error = await collect(RtspSource(camera.url), 5, 20)
        assert error is None and frames[0].index == 0


async def test_a_camera_that_stalls(clip: list[Unit]) -> None:
    async with RtspCamera(clip, stall_after=5) as camera:
        frames, error = await collect(RtspSource(camera.url, stall_timeout_s=0.5), 0, 20)
    assert type(error) is TransientError and "no picture for 0.5 s" in str(error)
    assert len(frames) >= 4


async def test_passwords_open_and_are_never_told(clip: list[Unit]) -> None:
    async with RtspCamera(clip, login="viewer:p w@/:x") as camera:
        address = f"rtsp://127.0.0.1:{camera.port}/stream?token=hidden1"
        good = RtspSource(address, username="viewer", password="p w@/:x")
        frames, error = await collect(good, 3, 20)
        assert error is None and frames
        _, error = await collect(RtspSource(address, username="viewer", password="wrong1"), 3, 20)
        assert isinstance(error, PermanentError) and error.exit_code == 77
        assert "refuses the user name or the password" in str(error)
        for text in (str(error), repr(good), good.label):
            assert "wrong1" not in text and "hidden1" not in text and "p w" not in text


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<html>", "no video stream that I know"),
        (b"\xff\xd8\xff", ""),
    ],
)
async def test_a_stream_that_is_not_what_it_says(clip: list[Unit], answer: bytes, text: str) -> None:
    async with RtspCamera(clip, answer=answer) as camera:
        frames, error = await collect(RtspSource(camera.url, stall_timeout_s=3), 1, 20)
    assert not frames and isinstance(error, PermanentError | TransientError)
    assert text in str(error) and "\n" not in str(error) and str(error).startswith("rtsp://127.0.0.1")


async def test_a_path_that_is_not_there(clip: list[Unit]) -> None:
    async with RtspCamera(clip) as camera:
        _, error = await collect(RtspSource(f"rtsp://127.0.0.1:{camera.port}/other"), 1, 20)
    assert isinstance(error, PermanentError) and error.exit_code == 66 and "no stream at this path" in str(error)


def test_without_pyav_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=rf"{re.escape(sys.prefix)}/bin/pip install 'camera-agent\[video\]'"):
        sources.from_text("rtsp://127.0.0.1/stream")
    with pytest.raises(ConfigError, match=r"camera-agent\[video\]"):
        RtspSource("rtsp://127.0.0.1/stream")


@pytest.mark.parametrize("text", ["ftp://host/x", "rtsp:///x", "rtsp://host:99999/", "rtsp://ho st/"])
def test_addresses_that_are_none_name_the_key(text: str) -> None:
    with pytest.raises(ConfigError, match="url: "):
        RtspSource(text)
    with pytest.raises(ConfigError, match="substream: "):
        RtspSource("rtsp://host/", substream=text)


async def test_each_frame_brings_the_newest_of_the_substream(clip: list[Unit], tmp_path: Path) -> None:
    small = units(film(tmp_path / "s.mp4", 40, size=(160, 120)))
    async with RtspCamera(clip) as big, RtspCamera(small) as little:
        frames, error = await collect(RtspSource(big.url, substream=little.url), 60, 20)
    assert error is None
    with_small = [f.small for f in frames if f.small is not None]
    assert len(with_small) > 20
    assert h264.parameter_sets(Codec.H264, with_small[0].data) is not None
    assert all(a.pts_ns <= b.pts_ns for a, b in pairwise(with_small))


async def test_a_substream_that_is_not_there_loses_nothing(clip: list[Unit], caplog: pytest.LogCaptureFixture) -> None:
    async with RtspCamera(clip) as big:
        frames, error = await collect(RtspSource(big.url, substream=f"rtsp://127.0.0.1:{big.port}/no"), 30, 20)
    assert error is None and [f.index for f in frames[:30]] == list(range(30))
    assert "substream: " in caplog.text and "no stream at this path" in caplog.text


async def test_a_substream_that_broke_is_tried_again(
    clip: list[Unit], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.sources.rtsp.SUBSTREAM_AGAIN_S", 0.1)
    async with RtspCamera(clip) as big, RtspCamera(clip, die_after=5) as little:
        task = asyncio.ensure_future(collect(RtspSource(big.url, substream=little.url), 3000, 60))
        async with asyncio.timeout(60):
            while little.sessions < 3:
                await asyncio.sleep(0.05)
        assert big.sessions == 1 and not task.done(), "for the big stream nothing happened"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def checked(source: RtspSource) -> tuple[int, str]:
    said: list[str] = []
    code = await check_all(AgentConfig((CameraConfig("gate", source),)), said.append)
    return code, "\n".join(said)


async def test_check_connects_the_substream_too(clip: list[Unit], tmp_path: Path) -> None:
    small = units(film(tmp_path / "s.mp4", 40, size=(160, 120)))
    wide = units(film(tmp_path / "w.mp4", 40, size=(240, 112)))
    async with RtspCamera(clip, login="me:pw") as big, RtspCamera(small, login="me:pw") as little:
        bare = little.url.replace("me:pw@", "")
        code, said = await checked(RtspSource(big.url, substream=bare))
        assert code == 0 and f"note  gate: substream {bare}: 160x120, " in said and "shape" not in said, said
        little.units = wide
        _, said = await checked(RtspSource(big.url, substream=little.url))
        assert "substream: of another shape" in said
        _, said = await checked(RtspSource(little.url, substream=big.url))
        assert "larger than the main stream" in said
        code, said = await checked(RtspSource(big.url, substream=bare.replace("stream", "none")))
        assert code == 66 and "fail  gate: substream: rtsp://127.0.0.1" in said and "no stream at this path" in said
        assert "pw" not in said


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
async def test_files_pass_with_their_own_access_units(tmp_path: Path, suffix: str, codec: Codec) -> None:
    path = film(tmp_path / f"a{suffix}", 30, codec=codec, b_frames=2)
    reference = units(film(tmp_path / "b.mp4", 30, codec=codec, b_frames=2), codec)
    frames, error = await collect(FileSource(str(path), fps=200), 0, 20)
    assert error is None and len(frames) == 30
    assert {f.codec for f in frames} == {codec}
    for frame, unit in zip(frames, reference, strict=True):
        assert pictures(codec, frame.data) == pictures(codec, unit.data)


async def test_a_film_keeps_its_pace_and_may_begin_again(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 10, fps=50, b_frames=2)
    frames, error = await collect(FileSource(str(path), loop=True), 25, 20)
    assert error is None and [f.index for f in frames[:25]] == list(range(25))
    assert [f.keyframe for f in frames[:21]] == [n % 10 == 0 for n in range(21)]
    steps = [round((b.pts_ns - a.pts_ns) / 1e6) for a, b in pairwise(frames[:10])]
    assert steps == [20] * 9


async def test_video_over_http(tmp_path: Path) -> None:
    from aiohttp import web

    path = film(tmp_path / "a.mp4", 20, fps=100)
    app = web.Application()
    app.router.add_static("/", tmp_path)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/{path.name}"
        frames, error = await collect(sources.from_text(url), 0, 20)
        assert error is None and nals(frames) == [h264.split(u.data) for u in units(path)]
        _, error = await collect(RtspSource(url + "x"), 0, 20)
        assert isinstance(error, PermanentError) and error.exit_code == 66
    finally:
        await runner.cleanup()


async def test_coded_anew_each_picture_is_a_jpeg_of_the_same(tmp_path: Path) -> None:
    clip = units(film(tmp_path / "a.mp4", 60, still=0))
    async with RtspCamera(clip[3:]) as camera:
        frames, error = await collect(RtspSource(camera.url, reencode=True), 30, 20)
    assert error is None and all(f.codec is Codec.JPEG and f.keyframe for f in frames)
    images = [cv2.imdecode(np.frombuffer(f.data, np.uint8), cv2.IMREAD_GRAYSCALE) for f in frames[:30]]
    assert places(images) == pytest.approx([n * 4 for n in range(10, 40)], abs=2)


async def test_privacy_masks_are_refused_by_check_unless_it_is_coded_anew(clip: list[Unit]) -> None:
    masks = PrivacySettings(masks=(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),))
    async with RtspCamera(clip) as camera:
        said: list[str] = []
        plain = CameraConfig("gate", RtspSource(camera.url), privacy=masks)
        assert await check_all(AgentConfig((plain,)), said.append) == 78
        assert "privacy masks need JPEGs, not H264: set reencode: true" in said[0]
        anew = CameraConfig("gate", RtspSource(camera.url, reencode=True), privacy=masks)
        assert await check_all(AgentConfig((anew,)), said.append) == 0
        frames, _ = await collect(anew.way_in(), 5, 20)
    assert all(jpeg.inspect(f.data).width == 320 for f in frames)
    assert cv2.imdecode(np.frombuffer(frames[0].data, np.uint8), cv2.IMREAD_GRAYSCALE).max() < 20


@pytest.fixture(scope="module")
def gstreamer() -> Iterator[None]:
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if (
        not os.path.exists(SYSTEM_PYTHON)
        or subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True).returncode
    ):
        pytest.skip("NO RTSP SERVER (apt install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good): NOT tested")
    yield


@asynccontextmanager
async def served(path: Path, payloader: str) -> AsyncIterator[str]:
    """GStreamer's RTSP server with this file; yields the address."""
    server = await asyncio.create_subprocess_exec(
        SYSTEM_PYTHON, str(SERVER), str(path), payloader, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    try:
        yield f"rtsp://127.0.0.1:{int(await server.stdout.readline())}/stream"
    finally:
        server.kill()
        await server.wait()


@pytest.mark.usefixtures("gstreamer")
@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize(("codec", "payloader"), [(Codec.H264, "rtph264pay"), (Codec.H265, "rtph265pay")])
async def test_debians_server(tmp_path: Path, codec: Codec, payloader: str, transport: str) -> None:
    path = film(tmp_path / "a.mp4", 75, fps=50, codec=codec)
    async with served(path, payloader) as url:
        frames, error = await collect(RtspSource(url, transport=transport), 0, 20)  # type: ignore[arg-type]
    assert type(error) is TransientError and "ended the stream" in str(error)
    sent = [pictures(codec, u.data) for u in units(path, codec)]
    got = [pictures(codec, f.data) for f in frames]
    # Over UDP the server hangs up while its last packets are on their way.
    if transport == "tcp":
        assert len(got) >= 60 and got[:-1] == sent[len(sent) - len(got) : -1]
    else:  # where a busy machine loses packets: what is left out is told by a gap, and what comes is whole
        assert frames[0].keyframe and len(got) >= 10
        assert all(b.keyframe for a, b in pairwise(frames) if b.index != a.index + 1)
        at = -1
        for picture in got[:-1]:
            at = sent.index(picture, at + 1)


@pytest.mark.parametrize("every", [29, 41])
@pytest.mark.parametrize("noisy", [False, True])
async def test_a_packet_lost_over_udp_costs_up_to_the_next_keyframe(tmp_path: Path, noisy: bool, every: int) -> None:
    """Small pictures are lost whole, of big ones a part: what comes is as it was sent, what does not is a gap."""
    size, rare = ((640, 480), 31) if noisy else ((320, 240), 1)
    clip = units(film(tmp_path / "a.mp4", 60, size=size, noise=noisy))
    async with RtspCamera(clip, 30, loses=lambda n: n % (every * rare) == 17) as camera:
        frames, error = await collect(RtspSource(camera.url, transport="udp"), 90, 20)
    assert error is None
    sent = [h264.split(u.data) for u in clip]
    place = 0
    gaps = [(a, b) for a, b in pairwise(frames) if b.index != a.index + 1]
    assert gaps and all(b.keyframe for _, b in gaps)
    for frame in frames:
        place = sent.index(h264.split(frame.data)) if frame.keyframe else place + 1
        assert h264.split(frame.data) == sent[place % 60], "whole, and next to each other where they say so"


@pytest.mark.usefixtures("gstreamer")
async def test_motion_jpeg_over_rtsp(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mov", 50, fps=50, encoder="mjpeg")
    async with served(path, "rtpjpegpay") as url:
        frames, _ = await collect(RtspSource(url), 30, 20)
    assert {f.codec for f in frames} == {Codec.JPEG}
    assert all(jpeg.inspect(f.data).width == 320 and jpeg.complete(f.data) for f in frames)
