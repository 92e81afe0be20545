"""Labels of people's own films, and the setting that serves them."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent.commands.motion import _write as write
from agent.commands.motion import motion
from agent.durable import rewrite
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


def tuned(config: Path, folder: Path) -> Result:
    run(CLIPS / "crossing_top.avi", "--label", "good", "--set", folder)
    return CliRunner().invoke(motion, ["--tune", "--set", str(folder), "--write", str(config), "porch"])


def test_the_file_stays_where_and_whose_it_is(tmp_path: Path) -> None:
    config, link = tmp_path / "etc" / "agent.yaml", tmp_path / "agent.yaml"
    config.parent.mkdir()
    text = b"cameras:\r\n  porch: {source: {type: demo}, motion: {sensitivity: 1}}\r\nserver: {}\r\n"
    config.write_bytes(text)
    config.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(config, 12345, 54321)
    link.symlink_to("etc/agent.yaml")
    before = config.stat()
    done = tuned(link, tmp_path / "set")
    assert done.exit_code == 0, done.output
    after = config.stat()
    assert config.read_bytes() == text.replace(b"y: 1", b"y: 5") and link.is_symlink()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert [p.name for p in config.parent.iterdir()] == ["agent.yaml"]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any of the calls that make it: what a power cut finds is the old one or the new one."""
    config = tmp_path / "agent.yaml"
    text = "cameras:\n  porch: {source: {type: demo}, motion: {sensitivity: 1}}\nserver: {}\n"
    config.write_text(text)
    for call in ("fsync", "fchown", "replace", "open"):

        def full(*_: object, **__: object) -> None:
            assert config.read_text() == text
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch, pytest.raises(UsageError, match=r"No space left.*sensitivity: 5") as said:
            patch.setattr(f"agent.durable.os.{call}", full)
            write(config, "porch", 5)
        assert said.value.exit_code == 73
        assert config.read_text() == text and [p.name for p in tmp_path.iterdir()] == ["agent.yaml"]


def test_the_name_is_durable_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, calls, sync, replace = tmp_path / "agent.yaml", [], os.fsync, os.replace
    config.write_text("cameras: {}\n")
    kind = lambda fd: "folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"  # noqa: E731
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(kind(fd)), sync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("name"), replace(a, b)))
    rewrite(config, "cameras: {porch: {}}\n")
    assert calls == ["file", "name", "folder"]


def test_who_ends_it_in_the_midst_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(fd: int) -> None:
        raise KeyboardInterrupt

    config = tmp_path / "agent.yaml"
    config.write_text("cameras: {}\n")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "fsync", end)
        rewrite(config, "new")
    assert config.read_text() == "cameras: {}\n" and [p.name for p in tmp_path.iterdir()] == ["agent.yaml"]


def test_what_may_not_be_written_is_not_replaced() -> None:
    """By its own owner, who may replace it in that folder."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # where others may go, too
        config = Path(name) / "agent.yaml"
        config.write_text("cameras: {}\n")
        config.chmod(0o444)
        was = os.geteuid()
        if was == 0:
            os.chown(name, 12345, -1)
            os.chown(config, 12345, -1)
            os.seteuid(12345)
        try:
            with pytest.raises(PermissionError):
                rewrite(config, "new")
        finally:
            os.seteuid(was)
        assert config.read_text() == "cameras: {}\n" and [p.name for p in Path(name).iterdir()] == ["agent.yaml"]


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
        learn.edited(config, "porch", 7)
