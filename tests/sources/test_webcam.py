"""Webcams where there is none: other systems' way, who holds a device, names that stay. Drivers: tests/devices."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import ConfigError, PermanentError, TransientError, UsageError
from agent.media import jpeg
from agent.sources import v4l2
from agent.sources.holders import holders, in_use
from agent.sources.webcam import WebcamSource, own_jpeg, stable_path
from tests.pictures import avi, collect, jpegs
from tests.pictures import jpeg as picture

PICTURES = jpegs(12)


async def test_other_systems_take_opencvs_own_back_end_and_code_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV opens a film as it opens a camera: the same calls, real pictures."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.chdir(tmp_path)
    Path("film.avi").write_bytes(avi(PICTURES))
    opened: list[v4l2.OpenCvCamera] = []
    made = v4l2.OpenCvCamera.__init__

    def init(self: v4l2.OpenCvCamera, *args: object) -> None:
        made(self, *args)  # type: ignore[arg-type]
        opened.append(self)

    monkeypatch.setattr(v4l2.OpenCvCamera, "__init__", init)
    frames, error = await collect(WebcamSource("film.avi"))
    assert isinstance(error, TransientError) and "gives no pictures any more" in str(error)
    assert frames and {jpeg.inspect(f.data).width for f in frames} == {64}
    (camera,) = opened
    assert not camera.raw and camera.encoded == 12 and "coded to JPEG here" in camera.about
    _, error = await collect(WebcamSource("none.avi"))
    assert isinstance(error, TransientError) and "does not open" in str(error)


async def test_a_device_that_is_not_there_and_one_that_went_away(tmp_path: Path) -> None:
    source = WebcamSource(str(tmp_path / "video0"))
    _, error = await collect(source)
    assert isinstance(error, PermanentError) and error.exit_code == 66 and "no such webcam" in str(error)
    source._stable.append(str(tmp_path / "gone"))
    _, error = await collect(source)
    assert isinstance(error, TransientError) and "unplugged" in str(error)


def test_who_holds_a_device_is_named(tmp_path: Path) -> None:
    device = tmp_path / "video0"
    device.touch()
    assert holders(str(device)) == [] and in_use(str(device)) == "in use by another program?"
    code = "import sys; f = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(device)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stdout.readline() == "open\n"
        link = tmp_path / "by-id"
        link.symlink_to(device)
        with device.open():
            (who,) = holders(str(link))
        assert who.endswith(f" (pid {process.pid})") and in_use(str(device)) == f"in use by {who}"
        process.communicate()


def test_names_that_a_replugged_webcam_keeps(tmp_path: Path) -> None:
    links = (("by-path", "usb-1", "video0"), ("by-id", "cam-0", "video0"), ("by-path", "usb-2", "video1"))
    for folder, name, device in links:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / device).touch()
        (tmp_path / folder / name).symlink_to(tmp_path / device)
    assert stable_path(str(tmp_path / "video0"), str(tmp_path)) == str(tmp_path / "by-id" / "cam-0")
    assert stable_path(str(tmp_path / "video1"), str(tmp_path)) == str(tmp_path / "by-path" / "usb-2")
    assert stable_path(str(tmp_path / "video2"), str(tmp_path)) == str(tmp_path / "video2")


def test_a_drivers_buffer_is_cut_behind_the_picture() -> None:
    own = picture(1)
    for behind in (b"", b"\0" * 100, b"\xff\xd9junk"):
        assert own_jpeg(own + behind) in (own, own + behind) and jpeg.complete(own_jpeg(own + behind) or b"")
    assert own_jpeg(own + b"\0" * 9) == own
    assert own_jpeg(own[:-10]) is None and own_jpeg(b"\0" * 100) is None


@pytest.mark.parametrize("text", ["webcam://x", "/tmp/x", "-1", "1234567"])
def test_names_that_no_webcam_has(text: str) -> None:
    with pytest.raises(UsageError):
        WebcamSource.from_url(text)
    with pytest.raises(ConfigError):
        WebcamSource("")
    assert WebcamSource.from_url("2").path == "/dev/video2" and os.sep in WebcamSource.from_url("/dev/video3").label
