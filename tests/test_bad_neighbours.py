"""One bad camera never disturbs the others: an agent with one that works and one of each kind that does not."""

import asyncio
import hashlib
import logging
from pathlib import Path

import pytest

from agent.app import Agent, AgentConfig, CameraConfig
from agent.frame import Frame
from agent.media.footage import open_footage
from agent.motion import MotionSettings
from agent.simulate import SimulatedCamera
from agent.sources.ipcam import IpCameraSource
from agent.sources.mjpeg import MjpegSource
from agent.sources.webcam import WebcamSource
from tests.pictures import avi, jpegs

PICTURES = jpegs(30)
FRAMES = 200
FAULTS = ("stall", "truncate", "drop", "401", "html", "endless-part", "empty-part", "huge-header", "endless-head")


async def test_a_good_camera_among_bad_ones_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    (tmp_path / "film.avi").write_bytes(avi(PICTURES))
    good = SimulatedCamera(open_footage(tmp_path / "film.avi"), fps=60, keep=500)
    bad = [SimulatedCamera(open_footage(tmp_path / "film.avi"), fps=60, faults=[f]) for f in FAULTS]
    for camera in (good, *bad):
        await camera.start()

    def source(camera: SimulatedCamera) -> MjpegSource:
        return MjpegSource(f"http://127.0.0.1:{camera.port}/video.cgi", stall_timeout_s=0.3)

    others = [source(c) for c in bad] + [IpCameraSource("127.0.0.1", 1), WebcamSource(str(tmp_path / "video7"))]
    agent = Agent(
        AgentConfig(
            tuple(
                CameraConfig(f"cam{i}", s, MotionSettings(enabled=i == 0))
                for i, s in enumerate([source(good), *others])
            )
        )
    )
    first, rest = agent.pipelines[0], agent.pipelines[1:]
    seen: list[Frame] = []
    publish, enough, until = first.hub.publish, asyncio.Event(), asyncio.Event()

    def watch(frame: Frame) -> None:
        publish(frame)
        seen.append(frame)
        if len(seen) >= FRAMES and all(p.health.failures for p in rest):
            enough.set()

    first.hub.publish = watch  # type: ignore[method-assign]
    run = asyncio.create_task(agent.run(until))
    try:
        await asyncio.wait_for(enough.wait(), 60)
    finally:
        until.set()
        await asyncio.gather(run, *(camera.close() for camera in (good, *bad)))
        await agent.close()

    assert [f.index for f in seen] == list(range(len(seen))) and first.health.attempts == 1
    begin = PICTURES.index(seen[0].data)
    want = [hashlib.sha256(PICTURES[(begin + i) % 30]).digest() for i in range(len(seen))]
    assert [hashlib.sha256(f.data).digest() for f in seen] == want
    assert first.counters.analysed > 0 and first.counters.lost_frames == 0 and first.size == (64, 48)
    for pipeline in rest:
        assert not pipeline.health.up and pipeline.health.error and pipeline.health.attempts >= 1
        assert pipeline.name in agent.status() and pipeline.health.error in agent.status()
