"""The Pi camera's source, unchanged, on real picamera2 over real libcamera, whose virtual pipeline is the camera."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent.media.footage import open_footage
from tests.devices.conftest import BEDS, bed

pytestmark = [pytest.mark.devices, pytest.mark.timeout(600)]

GUEST = Path(__file__).parent / "pi_guest.py"
FILM = BEDS.parent.parent / "data" / "motion" / "lobby_person"
PICTURES = 100


@pytest.fixture(scope="module")
def pi(pi_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the guest saw in each scenario: those with the test pattern side by side, then each film alone."""
    share = tmp_path_factory.mktemp("share")
    shutil.copy(GUEST, share)
    _steps(share / "steps")
    _film(share / "film")

    def run(scenario: str, sequence: str = "", **env: str) -> Any:
        env |= {"SHARE": str(share), **({"CAM_SEQ": f"/host/{sequence}"} if sequence else {})}
        out = bed("picamera2_virtual.sh", pi_root, "/opt/pc/bin/python", f"/host/{GUEST.name}", scenario, **env)
        return json.loads(next(x for x in out.splitlines() if x.startswith("RESULT ")).removeprefix("RESULT "))

    names = ("mjpeg", "h264", "stall", "open_fails", "choices")
    with ThreadPoolExecutor(len(names)) as pool:
        seen = dict(zip(names, pool.map(run, names), strict=True))
    seen["pairs"] = run("pairs", "steps")
    seen["moves"] = run("moves", "film", FRAMES=str(PICTURES * 4 - 4))
    return seen


def _steps(folder: Path) -> None:
    """Each picture is 6 grey levels brighter than the one before."""
    folder.mkdir()
    for i in range(20):
        picture = np.full((480, 640, 3), 60 + 6 * i, np.uint8)
        picture[100:200, 100:300] = 30
        cv2.imwrite(str(folder / f"{i}.jpg"), picture)


def _film(folder: Path) -> None:
    folder.mkdir()
    for i, picture in enumerate(islice(open_footage(FILM.with_suffix(".avi")), PICTURES)):
        (folder / f"{i}.jpg").write_bytes(picture)


def test_pictures_come_again_and_again_and_nothing_is_left(pi: Any) -> None:
    seen = pi["mjpeg"]
    for count, ended, took_s, numbered in seen["turns"]:
        assert count >= 20 and ended == "CancelledError" and took_s < 1.0 and numbered
    assert seen["whole"] and seen["size"] == [640, 480] and seen["luma"] == [240, 320]
    assert seen["before"] == seen["after"] and seen["after"]["threads"] == 0
    assert 15 < seen["fps"] < 45, "30 were asked for"


def test_h264_begins_with_its_parameter_sets_and_has_its_luma(pi: Any) -> None:
    seen = pi["h264"]
    assert seen["codecs"] == ["H264"] and seen["keyframes"][:3] == [0, 15, 30] and seen["with_sets"]
    assert seen["lumas"] == seen["frames"] and seen["decoded"] == [[640, 480]] * seen["frames"]


def test_a_stalled_camera_is_found_closed_and_opened_anew(pi: Any) -> None:
    seen = pi["stall"]
    assert seen["runs"][:2] == [12, 12] and seen["runs"][2] >= 30 and seen["indices"] == 0
    assert seen["ended"] == ["TransientError: picamera://0: no picture for 1 s"] * 2
    assert seen["after"]["threads"] == 0


def test_a_camera_that_does_not_open_is_tried_again(pi: Any) -> None:
    first, second, third = pi["open_fails"]["ends"]
    for count, ended in (first, second):
        assert count == 0 and ended.startswith("TransientError: picamera://0: the camera does not open (")
    assert third[0] >= 5


def test_cameras_by_id_and_what_this_one_cannot(pi: Any) -> None:
    seen = pi["choices"]
    assert min(seen["found"]) >= 3 and seen["flipped"][0] >= 3
    assert seen["told"] == [["libcamera", "virtual", "Virtual0", "{type: picamera, camera: 0}"]]
    number, name, hardware = seen["refused"]
    assert number == "PermanentError: picamera://7: no such camera (there is: 0 virtual Virtual0)"
    assert "picamera://imx999: no such camera" in name and "no hardware encoder" in hardware


def test_the_luma_is_that_of_its_picture(pi: Any) -> None:
    """A luma that is one picture late would be 6 grey levels off."""
    seen = pi["pairs"]
    assert seen["steps"] >= 10, "the sequence was not played"
    assert max(seen["far"].values()) < 3.0


def test_what_moves_in_a_labelled_film_is_seen_on_the_luma_alone(pi: Any) -> None:
    seen = pi["moves"]
    truth = json.loads(FILM.with_suffix(".json").read_text())["states"]
    states = {i: state for first, last, state in truth for i in range(first, last + 1)}
    moving = {int(i): bool(m) for i, m in seen["moving"].items()}
    still = [m for i, m in moving.items() if states[i] == "none" and states.get(i + 2) == "none"]
    alive = [m for i, m in moving.items() if states[i] == "motion" and states.get(i - 2) == "motion"]
    assert len(still) >= 10 and len(alive) >= 10 and seen["far"] < 6.0
    assert sum(alive) >= 0.8 * len(alive) and sum(still) <= 0.2 * len(still)
