"""Webcams on real V4L2 drivers in an emulated machine: vivid (raw pixels), v4l2loopback (MJPEG), plugs pulled."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.devices.conftest import BEDS, CACHE, bed, install, need_beds
from tests.pictures import jpeg

pytestmark = [pytest.mark.devices, pytest.mark.timeout(1200)]

GUEST = Path(__file__).parent / "webcam_guest.py"
SCRIPT = """
modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x00
modprobe v4l2loopback exclusive_caps=1 card_label="HD Webcam"
udevadm settle
/opt/pc/bin/python /host/webcam_guest.py
"""


@pytest.fixture(scope="module")
def seen() -> Iterator[Any]:
    """What the guest saw: one boot for all tests here, 20 to 110 s."""
    need_beds()
    root, ready = CACHE / "machine", CACHE / "machine.ready"
    if not ready.exists():
        shutil.rmtree(root, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        bed("build_root.sh", root)
        bed("add_v4l2loopback.sh", root)
        bed("install_product.sh", root, GUEST.parent.parent.parent)
        ready.touch()
    install(root)
    with tempfile.TemporaryDirectory() as name:
        share, vm = Path(name) / "share", Path(name) / "vm"
        (share / "clip").mkdir(parents=True)
        for i in range(20):
            (share / "clip" / f"{i}.jpg").write_bytes(jpeg(i, 640, 480))
        shutil.copy(GUEST, share)
        shutil.copy(BEDS / "examples" / "mjpeg_webcam.py", share)
        (share / "guest.sh").write_text(SCRIPT)
        bed("build_vm.sh", root, vm)
        bed("run_vm.sh", vm, SHARE=str(share))
        try:
            log = bed("vmctl.py", vm, "wait", "TB-RC", "900", timeout_s=950)
        finally:
            bed("vmctl.py", vm, "cut")
    line = next((x for x in log.splitlines() if x.startswith("RESULT ")), None)
    assert line, log
    yield json.loads(line.removeprefix("RESULT "))


def test_they_are_found_with_their_formats(seen: Any) -> None:
    by_path = {where: (name, what, yaml) for name, where, what, yaml in seen["found"]}
    assert "vivid" in by_path[seen["vivid"]][0] and "YUYV up to" in by_path[seen["vivid"]][1]
    assert by_path[seen["loop"]][0] == "HD Webcam" and by_path[seen["loop"]][1].startswith("MJPG")
    assert all(yaml.startswith("{type: webcam, device: /dev/") for _, _, yaml in by_path.values())


def test_a_webcam_without_mjpeg_is_coded_here(seen: Any) -> None:
    raw = seen["raw"]
    assert raw["frames"] >= 10 and raw["sizes"] == [[640, 480]] and not raw["raw"]
    assert raw["encoded"] >= raw["frames"] and "coded to JPEG here" in raw["about"]


def test_an_mjpeg_webcams_own_bytes_come_and_nothing_is_coded(seen: Any) -> None:
    own = seen["mjpeg"]
    assert own["frames"] >= 20 and own["own"] == own["frames"] and own["different"] >= 10
    assert own["encoded"] == 0 and own["raw"]
    assert own["about"].startswith("640x480 MJPG at ") and own["about"].endswith("the camera's own JPEGs")


def test_who_holds_a_busy_webcam_is_named(seen: Any) -> None:
    busy = seen["busy"]
    assert busy["holds"] == "True" and busy["frames"] == 0 and busy["again"] >= 3
    assert f"in use by python3 (pid {busy['pid']})" in busy["ended"] or f"(pid {busy['pid']})" in busy["ended"]


def test_a_driver_that_blocks_is_left_behind_for_a_while_only(seen: Any) -> None:
    stalled = seen["stalled"]
    assert stalled["ended"].endswith(": no picture for 2 s") and stalled["ended"].startswith("TransientError: /dev/")
    assert stalled["threads"] == 0 and stalled["again"] >= 5 and seen["fds"] == 0


def test_a_plug_pulled_and_put_back_is_survived(seen: Any) -> None:
    plug = seen["unplugged"]
    assert "no such webcam" in plug["absent"] and plug["again"] >= 5
    assert "unplugged" in plug["ended"] or "no pictures any more" in plug["ended"]
