"""`camera-agent motion` on films: what it writes, and pictures that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from agent.cli import main
from agent.commands.motion import motion
from agent.motion import MotionSettings
from agent.motion.evaluate import judge
from agent.motion.luma import jpeg_luma
from agent.motion.rawclip import open_footage

CLIPS = Path(__file__).parent / "clips"


def coded(image: NDArray[Any], *options: int) -> bytes:
    return cv2.imencode(".jpg", image, list(options))[1].tobytes()


def view(height: int, width: int, channels: int = 3) -> NDArray[Any]:
    rng = np.random.default_rng(1)
    coarse = rng.integers(40, 200, (12, 16, channels)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def decide(pictures: list[bytes]) -> list[bool]:
    return [j.decision.moving for j in judge(pictures, 10, MotionSettings(), None)]


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (7, 300), (600, 8), (480, 640)])
@pytest.mark.parametrize(
    "options",
    [
        (),
        (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422),
        (cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    ],
)
def test_every_kind_of_picture_that_repeats_is_still(size: tuple[int, int], options: tuple[int, ...]) -> None:
    assert decide([coded(view(*size), *options)] * 40) == [False] * 40


@pytest.mark.parametrize("kind", ["grey", "progressive", "4:2:2", "cmyk"])
def test_what_walks_is_seen_in_every_kind_of_picture(kind: str) -> None:
    options = {
        "progressive": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "4:2:2": (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422),
    }.get(kind, ())
    pictures = []
    for i in range(60):
        image = view(120, 160, 1 if kind in ("grey", "cmyk") else 3)
        x = 3 * (i - 30)
        image[60:90, max(0, x - 12) : max(0, x)] = 250
        data = coded(image, *options)
        pictures.append(_cmyk(data) if kind == "cmyk" else data)
    moving = decide(pictures)
    assert not any(moving[:30])
    assert any(moving[30:41])


def test_grey_and_cmyk_pictures_are_looked_at() -> None:
    assert decide([coded(view(120, 160, 1))] * 20) == [False] * 20
    assert jpeg_luma(_cmyk(coded(view(120, 160, 1)))).shape == (60, 80)


def _cmyk(grey: bytes) -> bytes:
    """A JPEG of four components made of a grey one: its scan four times, once for each."""
    sof, sos = grey.index(b"\xff\xc0"), grey.index(b"\xff\xda")
    frame = b"\xff\xc0\x00\x14" + grey[sof + 4 : sof + 9] + b"\x04" + b"".join(bytes((i, 0x11, 0)) for i in range(1, 5))
    scans = [b"\xff\xda\x00\x08\x01" + bytes((i, 0)) + grey[sos + 7 : -2] for i in range(1, 5)]
    return grey[:sof] + frame + grey[sof + 13 : sos] + b"".join(scans) + b"\xff\xd9"


def test_a_huge_picture_is_refused_before_it_is_decoded_and_the_rest_goes_on() -> None:
    small = coded(view(120, 160))
    at = small.index(b"\xff\xc0") + 5
    huge = small[:at] + (60000).to_bytes(2, "big") + (60000).to_bytes(2, "big") + small[at + 4 :]
    with pytest.raises(ValueError, match="pixels"):
        jpeg_luma(huge)
    assert decide([small] * 10 + [huge] + [small] * 10) == [False] * 21


def test_a_large_picture_is_looked_at_and_one_over_the_limit_is_not() -> None:
    assert decide([coded(view(3000, 4000, 1))] * 3) == [False] * 3
    with pytest.raises(ValueError, match="8000x6000"):
        jpeg_luma(coded(view(6000, 8000, 1)))


def test_one_frame_a_change_of_size_and_rubbish() -> None:
    assert decide([coded(view(120, 160))]) == [False]
    assert decide([b"", b"\xff\xd8\xff", coded(view(120, 160))[:900]]) == [False] * 3
    assert decide([coded(view(120, 160))] * 20 + [coded(view(240, 320))] * 20) == [False] * 40


def test_a_film_that_ends_inside_a_picture_is_judged_to_its_end(tmp_path: Path) -> None:
    whole = (CLIPS / "crossing_top.avi").read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole[: len(whole) // 2])
    out = CliRunner().invoke(motion, [str(cut), "--decisions", str(tmp_path)])
    assert out.exit_code == 0, out.output
    lines = [json.loads(line) for line in (tmp_path / "cut.jsonl").read_text().splitlines()]
    assert 40 <= len(lines) <= 126
    assert any(line.get("moving") for line in lines)


def test_what_is_no_film_is_said(tmp_path: Path) -> None:
    (tmp_path / "no.avi").write_bytes(b"nothing of a film")
    for name, says in (("no.avi", "no video that can be read"), ("away.avi", "no such clip")):
        out = CliRunner().invoke(main, ["motion", str(tmp_path / name)])
        assert out.exit_code == 66
        assert says in out.output


def test_decisions_say_why_and_a_picture_explains(tmp_path: Path) -> None:
    out = CliRunner().invoke(
        motion,
        [str(CLIPS / "crossing_top.avi"), "--decisions", str(tmp_path), "--explain", str(tmp_path), "--fps", "5"],
    )
    assert out.exit_code == 0, out.output
    assert "63 looked at" in out.output
    *lines, last = [json.loads(line) for line in (tmp_path / "crossing_top.jsonl").read_text().splitlines()]
    assert len(lines) == 125
    assert last["cpu_ms"] > 0
    assert {"motion"} < {line["reason"] for line in lines}
    assert any(h for line in lines for h in line["held_back"])
    boxes = [b for line in lines for b in line["boxes"]]
    assert all(0 <= x <= 400 and 0 <= y <= 224 and x + w <= 401 and y + h <= 225 for x, y, w, h in boxes)
    sheet = cv2.imread(str(tmp_path / "crossing_top.png"))
    assert sheet is not None
    assert sheet.shape[1] == 1440


def test_the_same_film_gives_the_same_lines() -> None:
    films = [
        [j.decision for j in judge(open_footage(CLIPS / "window_tree.avi"), 15, MotionSettings(), 5)] for _ in "12"
    ]
    assert films[0] == films[1]


def test_the_bench_prints_every_size() -> None:
    out = CliRunner().invoke(motion, ["--bench"])
    assert out.exit_code == 0
    assert [line.split()[0] for line in out.output.splitlines()[1:]] == ["320x240", "640x480", "1280x720", "1920x1080"]
