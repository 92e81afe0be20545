"""What the Pi camera's source says where there is no picamera2; the camera itself: tests/devices."""

import sys
from pathlib import Path

import pytest

from agent import sources
from agent.errors import ConfigError, PermanentError
from agent.sources import picamera
from agent.sources.picamera import PiCameraSource
from tests.pictures import collect


async def test_without_picamera2_the_cure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libcamera", None)
    monkeypatch.delitem(sys.modules, "agent.sources.libcamera", raising=False)
    _, error = await collect(PiCameraSource())
    assert isinstance(error, PermanentError)
    assert str(error).startswith("picamera://0: picamera2 is not here (")
    assert "sudo apt install python3-picamera2 --no-install-recommends" in str(error)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ("include-system-site-packages = false\n", "until: python3 -m venv --system-site-packages {prefix}"),
        ("include-system-site-packages = true\n", "{prefix}/bin/pip install 'numpy<2' 'opencv-python-headless<4.12'"),
    ],
)
def test_the_cure_knows_the_environment(
    settings: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyvenv.cfg").write_text(settings)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert text.format(prefix=tmp_path) in picamera.cure()
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert picamera.cure() == "sudo apt install python3-picamera2 --no-install-recommends"


def test_cameras_on_the_command_line() -> None:
    assert sources.from_text("picamera").label == "picamera://0"
    assert sources.from_text("picamera://1").label == "picamera://1"
    assert PiCameraSource.from_url("picamera://imx708").camera == "imx708"


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("codec", "h265", "codec: expected one of mjpeg, h264"),
        ("awb", "bright", "awb: expected one of auto, tungsten"),
        ("width", 641, "even numbers"),
        ("camera", -1, "a number from 0 on"),
    ],
)
def test_settings_that_no_camera_takes(key: str, value: object, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        PiCameraSource(**{key: value})  # type: ignore[arg-type]
