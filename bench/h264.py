"""H.264 from an RTSP camera: CPU a frame of passing it through, of looking for motion, and of decoding everything."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from agent.app import Analyser
from agent.frame import Frame
from agent.motion import MotionSettings
from agent.pipeline import Pipeline
from agent.sources import Publish, Source, scene
from agent.sources.device import Picture, capture
from agent.sources.file import FileSource
from agent.sources.groups import Groups
from agent.sources.packets import Packets, Place
from agent.sources.rtsp import RtspSource

SECONDS = 8.0
FPS = 15
GOP = 30
FRAMES = 120
SIZES = ((640, 480, 1_000_000), (1920, 1080, 4_000_000))

# A camera in a process of its own, so that its work is not counted.
CAMERA = """
import asyncio, sys
from pathlib import Path
from tests.fakes.rtsp import RtspCamera
from tests.videos import units

async def main():
    camera = RtspCamera(units(Path(sys.argv[1])), float(sys.argv[2]), lambda n: n * 90000 // int(sys.argv[2]))
    async with camera:
        print(camera.url, flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


def film(path: Path, width: int, height: int, bit_rate: int) -> Path:
    """A street with a walker and sensor noise, as a camera's encoder would make it: no B-frames."""
    import av

    rng = np.random.default_rng(1)
    ground = cv2.resize(scene.backdrop(), (width, height), interpolation=cv2.INTER_CUBIC)
    noise = rng.normal(0, 2, (height, width * 2, 1)).astype(np.int16)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, "yuv420p", GOP
        stream.bit_rate = bit_rate
        stream.options = {"bf": "0", "preset": "veryfast", "sc_threshold": "0"}
        for i in range(FRAMES):
            small = scene.backdrop().copy()
            scene.walker(small, -40 + i / FRAMES * (scene.WIDTH + 80), i / FRAMES * 18)
            walker = cv2.resize(small, (width, height)) if i >= FRAMES // 2 else ground
            picture = walker.astype(np.int16) + np.roll(noise, int(rng.integers(width)), 1)[:, :width]
            image = np.clip(picture, 0, 255).astype(np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        out.mux(stream.encode())
    return path


def decode_all(path: Path) -> float:
    """CPU milliseconds a frame of decoding every one with one thread, and nothing else."""
    import av

    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        stream.codec_context.thread_count = 1
        begin, count = time.process_time(), 0
        for _ in source.decode(stream):
            count += 1
        return (time.process_time() - begin) / count * 1000


def flat_out(path: Path) -> float:
    """CPU milliseconds a frame of the way from the file into the recorder and the hub, as fast as it goes."""

    async def work() -> float:
        pipeline, groups = Pipeline("camera", FileSource(str(path)), [], analyse=None), Groups()
        device = Packets(Place(str(path), {}, paced=True, loop=True, fps=1e6))
        begin = time.process_time()
        for index in range(10 * FRAMES):
            for p in device.read() or ():
                at_ns = index * 1_000_000_000 // FPS
                frame = groups.place(Frame(p.codec, p.data, p.keyframe, at_ns, at_ns, index, delay_us=p.delay_us))
                assert frame is not None
                pipeline._publish(frame)
        spent = time.process_time() - begin
        device.close()
        return spent / (10 * FRAMES) * 1000

    return asyncio.run(work())


class Decoding:
    """A source that also decodes whatever comes, as agents do that know of no other way."""

    def __init__(self, url: str) -> None:
        self.label = url

    async def run(self, publish: Publish) -> None:
        options = {"rtsp_transport": "tcp", "analyzeduration": "1", "fpsprobesize": "0"}
        await capture(self.label, lambda: _Decoder(Place(self.label, options)), publish, 10)


class _Decoder(Packets):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._context = self._av.CodecContext.create("h264", "r")
        self._context.thread_count = 1

    def read(self) -> list[Picture] | None:
        pictures = super().read()
        for p in pictures or ():
            self._context.decode(self._av.Packet(p.data))
        return pictures


def copy_rtsp(url: str) -> float:
    """CPU milliseconds a frame of PyAV alone taking packets out of the same RTSP stream."""
    import av

    options = {"rtsp_transport": "tcp", "analyzeduration": "1", "fpsprobesize": "0"}
    with av.open(url, options=options, timeout=10) as source:
        packets = source.demux(video=0)
        for _ in range(FPS):
            next(packets)
        begin = time.process_time()
        for _ in range(round(SECONDS * FPS)):
            bytes(next(packets))
        return (time.process_time() - begin) / round(SECONDS * FPS) * 1000


async def run(source: Source, motion: bool) -> tuple[float, Pipeline]:
    """CPU milliseconds a frame of this process while the camera runs through a whole pipeline."""
    analyse = Analyser(MotionSettings()) if motion else None
    pipeline = Pipeline("camera", source, [], analyse=analyse)
    task = asyncio.create_task(pipeline.run())
    await asyncio.wait_for(pipeline.started.wait(), 20)
    await asyncio.sleep(2.0)  # libraries are loaded, the first burst is over
    begin, frames = time.process_time(), pipeline.counters.frames
    await asyncio.sleep(SECONDS)
    cost = (time.process_time() - begin) / (pipeline.counters.frames - frames) * 1000
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return cost, pipeline


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    for width, height, bit_rate in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            path = film(Path(folder) / "film.mp4", width, height, bit_rate)
            server = subprocess.Popen(
                [sys.executable, "-c", CAMERA, str(path), str(FPS)],
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[1],
            )
            try:
                assert server.stdout is not None
                url = server.stdout.readline().strip()
                whole, flat = decode_all(path), flat_out(path)
                decoding, _ = asyncio.run(run(Decoding(url), False))
                copied = copy_rtsp(url)
                passing, pipeline = asyncio.run(run(RtspSource(url), False))
                looking, watched = asyncio.run(run(RtspSource(url), True))
            finally:
                server.kill()
                server.wait()
        kb = pipeline.counters.frame_bytes / pipeline.counters.frames / 1000
        print(f"{width}x{height}, {FPS} fps, {kb:.0f} kB a frame, a keyframe each {GOP / FPS:g} s; CPU a frame:")
        seen = f"{watched.counters.analysed} looks, {watched.counters.events} events"
        for name, cost, base, note in (
            ("file, as fast as it goes: decode all, one thread", whole, whole, ""),
            ("file, as fast as it goes: passed through", flat, whole, "goal 0.05"),
            ("RTSP, as it comes: decode all, one thread", decoding, decoding, ""),
            ("RTSP, as it comes: PyAV alone, no decoding", copied, decoding, "what libav's RTSP costs by itself"),
            ("RTSP, as it comes: passed through", passing, decoding, ""),
            ("RTSP, as it comes: with motion", looking, decoding, seen),
        ):
            print(f"  {name:50} {cost:7.3f} ms   {cost / base:6.3f}   {note}", flush=True)
