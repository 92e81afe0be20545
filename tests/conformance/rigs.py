"""For each registered kind of source: a camera that works, one that stalls, and one that is not there."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.errors import PermanentError, TransientError
from agent.media import h264
from agent.media.footage import open_footage
from agent.simulate import SimulatedCamera
from agent.sources import Source
from agent.sources.demo import DemoSource
from agent.sources.device import Device, Picture
from agent.sources.file import FileSource
from agent.sources.ipcam import Dcs920Source, IpCameraSource
from agent.sources.mjpeg import MjpegSource
from agent.sources.picamera import PiCameraSource
from agent.sources.rtsp import RtspSource
from agent.sources.webcam import WebcamSource
from tests.pictures import avi, jpegs

PICTURES = jpegs(8)
STALL_S = 0.4
SECRET = "c4n4ry"
CAMERAS_OWN = "of-the-camera.avi"
"""The fake cameras live in the same process: this is theirs, not the source's."""


@dataclass
class Rig:
    """`pictures`: what the camera plays again and again (None: its own); `frees`: lets go of a driver that hangs."""

    source: Source
    absent: Source
    absent_raises: type[Exception]
    pictures: list[bytes] | None = None
    stalled: Source | None = None
    frees: Callable[[], None] = field(default=lambda: None)


Make = Callable[[Path], AbstractAsyncContextManager[Rig]]


def film(folder: Path, name: str = "film.avi") -> str:
    path = folder / name
    path.write_bytes(avi(PICTURES))
    return str(path)


@asynccontextmanager
async def network(folder: Path, make: Callable[[int], Source]) -> AsyncIterator[Rig]:
    """Two cameras with a login, one of which stalls, and a port where nobody is."""
    how = {"username": "admin", "password": SECRET, "fps": 50, "keep": 100}
    well = SimulatedCamera(open_footage(film(folder, CAMERAS_OWN)), **how)  # type: ignore[arg-type]
    ill = SimulatedCamera(open_footage(film(folder, CAMERAS_OWN)), **how, faults=["stall@3"])  # type: ignore[arg-type]
    gone = SimulatedCamera(open_footage(film(folder, CAMERAS_OWN)))
    for camera in (well, ill, gone):
        await camera.start()
    await gone.close()
    try:
        yield Rig(make(well.port), make(gone.port), TransientError, PICTURES, make(ill.port))
    finally:
        await well.close()
        await ill.close()


def mjpeg(folder: Path) -> AbstractAsyncContextManager[Rig]:
    return network(
        folder,
        lambda port: MjpegSource(f"http://admin:{SECRET}@127.0.0.1:{port}/video.cgi", stall_timeout_s=STALL_S),
    )


def dcs920(folder: Path) -> AbstractAsyncContextManager[Rig]:
    return network(folder, lambda port: Dcs920Source("127.0.0.1", port, password=SECRET, stall_timeout_s=STALL_S))


def ipcam(folder: Path) -> AbstractAsyncContextManager[Rig]:
    how = {"password": SECRET, "stall_timeout_s": STALL_S, "preset": "dcs930"}
    return network(folder, lambda port: IpCameraSource("127.0.0.1", port, **how))  # type: ignore[arg-type]


@asynccontextmanager
async def file(folder: Path) -> AsyncIterator[Rig]:
    yield Rig(
        FileSource(film(folder), loop=True, fps=100), FileSource(str(folder / "none.avi")), PermanentError, PICTURES
    )


@asynccontextmanager
async def demo(folder: Path) -> AsyncIterator[Rig]:
    yield Rig(DemoSource(), FileSource(str(folder / "none")), PermanentError)


class PlayedDevice:
    """A device that gives the pictures in turn; it blocks in `read` after `stall_at` until it is freed."""

    about = "64x48 MJPG, played"

    def __init__(self, free: threading.Event, stall_at: int = 1 << 30) -> None:
        self._free = free
        self._stall_at = stall_at
        self._count = 0
        self.closed = False

    def read(self) -> list[Picture]:
        if self._count >= self._stall_at:
            self._free.wait()
            raise TransientError("the device came back too late")
        # The pace of a device: a picture each 5 ms, however fast it is read.
        self._free.wait(0.005)
        self._count += 1
        return [Picture(PICTURES[(self._count - 1) % len(PICTURES)])]

    def close(self) -> None:
        self.closed = True


@asynccontextmanager
async def _devices(source: type[WebcamSource] | type[PiCameraSource], absent: Source) -> AsyncIterator[Rig]:
    """The source itself, with its driver's side played: real drivers are in tests/devices."""
    free = threading.Event()

    class Well(source):  # type: ignore[misc, valid-type]
        def _open(self) -> Device:
            return PlayedDevice(free)

    class Ill(source):  # type: ignore[misc, valid-type]
        def _open(self) -> Device:
            return PlayedDevice(free, 3)

    try:
        yield Rig(Well(), absent, PermanentError, PICTURES, Ill(stall_timeout_s=STALL_S), free.set)
    finally:
        free.set()


def webcam(folder: Path) -> AbstractAsyncContextManager[Rig]:
    return _devices(WebcamSource, WebcamSource(str(folder / "video9")))


def picamera(folder: Path) -> AbstractAsyncContextManager[Rig]:
    return _devices(PiCameraSource, PiCameraSource(camera=9))


@asynccontextmanager
async def rtsp(folder: Path) -> AsyncIterator[Rig]:
    """Two cameras with a login, one of which stalls; their pictures as RTP gives them: four-byte start codes."""
    from tests.fakes.rtsp import RtspCamera
    from tests.videos import film as coded
    from tests.videos import units

    clip = units(coded(folder / "a.mp4", 8, gop=8, size=(64, 64)))
    login = f"admin:{SECRET}"
    async with RtspCamera(clip, 50, login=login) as well, RtspCamera(clip, 50, login=login, stall_after=3) as ill:
        gone = RtspCamera(clip)
        async with gone:
            pass
        pictures = [b"".join(h264.START + n for n in h264.split(u.data)) for u in clip]
        stalled = RtspSource(ill.url, stall_timeout_s=STALL_S)
        yield Rig(RtspSource(well.url), RtspSource(gone.url), TransientError, pictures, stalled)


RIGS: dict[str, Make] = {
    "rtsp": rtsp,
    "mjpeg": mjpeg,
    "dcs920": dcs920,
    "ipcam": ipcam,
    "file": file,
    "demo": demo,
    "webcam": webcam,
    "picamera": picamera,
}
