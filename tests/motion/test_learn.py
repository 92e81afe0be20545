"""Labels of people's own films, and the setting that serves them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.commands.motion import motion
from agent.errors import UsageError
from agent.motion import learn
from agent.motion.learn import Fit

CLIPS = Path(__file__).parent / "clips"


def run(*args: object) -> str:
    out = CliRunner().invoke(motion, [str(a) for a in args])
    assert out.exit_code == 0, out.output
    return out.output


def test_labels_make_a_set_and_tuning_shows_and_writes_only_when_told(tmp_path: Path) -> None:
    folder, config = tmp_path / "set", tmp_path / "agent.yaml"
    text = "cameras:\n  porch:\n    motion:\n      sensitivity: 9  # mine\n    source: {type: demo}\nserver: {}\n"
    config.write_text(text)
    run(CLIPS / "crossing_top.avi", "--label", "bad", "--set", folder)
    run(CLIPS / "crossing_top.avi", "--label", "good", "--set", folder)
    run(CLIPS / "street_exposure.avi", "--label", "bad", "--set", folder)
    assert learn.labels(folder) == {"crossing_top.avi": True, "street_exposure.avi": False}
    shown = run("--tune", "--set", folder, "--sensitivity", 5)
    assert "sensitivity  5: 1/1 good seen, 1/1 bad left" in shown
    assert "best: 5 (now 5)" in shown
    assert config.read_text() == text
    run("--tune", "--set", folder, "--write", config, "porch")
    assert config.read_text() == text.replace("9", "5")


def test_of_equals_the_nearest_is_best() -> None:
    assert learn.best([Fit(1, 1, 2), Fit(4, 2, 2), Fit(9, 2, 2)], 5).sensitivity == 4


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no labels there"):
        learn.labels(tmp_path)
    with pytest.raises(UsageError, match="no such film"):
        learn.label(tmp_path / "away.avi", True, tmp_path)
    (tmp_path / "labels.jsonl").write_text('{"clip": "a", "good": true}\nrubbish\n')
    with pytest.raises(UsageError, match=r"labels.jsonl:2: not a label: rubbish"):
        learn.labels(tmp_path)
    config = tmp_path / "agent.yaml"
    shutil.copyfile(Path(__file__).parents[2] / "config.example.yaml", config)
    with pytest.raises(UsageError, match=r"cameras.porch.motion.sensitivity does not stand there yet"):
        learn.write(config, "porch", 7)
