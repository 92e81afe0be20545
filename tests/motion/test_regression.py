"""The gate: no change of the detector may lose what it could do on real and made scenes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent.motion.rawclip import open_footage
from tests.motion import composites, scenes
from tests.motion.scoring import compare, score

CLIPS = Path(__file__).parent / "clips"
PROJECT = Path(__file__).parents[2]
SHARED = PROJECT.parent / "shared"
MADE = {
    "calm": (0.95, 0.02), "far": (0.8, 0.02), "jitter_large": (0.95, 0.02), "rain": (0.93, 0.02),
    "night": (0.95, 0.02), "flicker": (0.85, 0.02), "step": (0.9, 0.02), "exposure": (0.95, 0.02),
    "ramp": (0.85, 0.02), "cloud": (0.8, 0.02), "beam": (0.9, 0.05), "ir_switch": (0.85, 0.02),
}  # fmt: skip


@pytest.mark.parametrize(("name", "f1", "fpr"), [("crossing_top", 0.94, 0.3), ("window_tree", 0.9, 0.1)])
def test_real_films(name: str, f1: float, fpr: float) -> None:
    labels = json.loads((CLIPS / f"{name}.json").read_text())
    got = score(open_footage(CLIPS / f"{name}.avi"), labels)
    assert got.f1 >= f1
    assert got.fpr <= fpr
    assert (got.late, got.missed) == (0, 0)


def test_a_picture_that_brightens_in_steps_is_still() -> None:
    labels = json.loads((CLIPS / "street_exposure.json").read_text())
    assert score(open_footage(CLIPS / "street_exposure.avi"), labels).fp == 0


@pytest.mark.parametrize("name", MADE)
def test_made_scenes(name: str) -> None:
    f1, fpr = MADE[name]
    scene = scenes.SCENES[name](17)
    jpegs, boxes = scene.films()
    got = score(jpegs, scenes.labels(name, boxes, scene.fps))
    assert got.f1 >= f1
    assert got.fpr <= fpr
    assert got.missed == 0


@pytest.mark.parametrize("name", ["striped", "fan", "flag", "hunting", "smoothed", "shower", "bands"])
def test_made_scenes_of_another_kind(name: str) -> None:
    scene = composites.COMPOSITES[name](17)
    jpegs, boxes = scene.films()
    got = score(jpegs, scenes.labels(name, boxes, scene.fps))
    assert got.f1 >= 0.9
    assert got.fpr <= 0.02
    assert got.missed == 0


def test_the_gate_fails_for_a_detector_that_says_always_or_never() -> None:
    labels = json.loads((CLIPS / "crossing_top.json").read_text())
    assert compare([True] * labels["frames"], labels).fpr == 1
    assert compare([False] * labels["frames"], labels).missed == 2


@pytest.mark.skipif(not (SHARED / "data/motion").exists(), reason="the labelled development films are not here")
def test_the_development_films(tmp_path: Path) -> None:
    films = sorted((SHARED / "data/motion").glob("*.avi"))
    run = [sys.executable, "-m", "agent.cli", "motion", *map(str, films)]
    figures = {}
    for name, more in (("all", []), ("five", ["--fps", "5"])):
        subprocess.run([*run, "--decisions", str(tmp_path / name), *more], check=True, capture_output=True)
        scorer = [sys.executable, str(SHARED / "tools/motion_eval.py"), str(SHARED / "data/motion")]
        subprocess.run([*scorer, str(tmp_path / name), "--json", str(tmp_path / "out.json")], check=True,
                       capture_output=True)  # fmt: skip
        figures[name] = json.loads((tmp_path / "out.json").read_text())[name]["summary"]
    got = figures["all"]
    assert got["f1"] >= 0.96
    assert got["f1_mixed"] >= 0.94
    assert got["fpr"] <= 0.04
    assert (got["caught"], got["missed"]) == (21, 0)
    assert got["false_events"] <= 2
    assert figures["five"]["false_events"] <= 2
    assert got["loc_hit"] >= 0.8
    assert got["loc_iou"] >= 0.55
    assert got["misplaced"] <= 0.03
    assert abs(got["f1"] - figures["five"]["f1"]) <= 0.02
