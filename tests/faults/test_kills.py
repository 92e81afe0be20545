"""Processes die at any moment and machines lose power: nothing that was promised is lost, doubled, torn or wrong."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from tests.faults.rig import ROOT, Plug, Rig, no_plug, rig

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="session")
def killpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that kills at a file call."""
    if not shutil.which("gcc"):
        pytest.skip("NO KILL POINTS: gcc is not installed here")
    path = tmp_path_factory.mktemp("so") / "killpoint.so"
    source = Path(__file__).with_name("killpoint.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", path, source, "-ldl"], check=True)
    return path


def points(so: Path, side: str, folder: Path, *more: str, of: str = "points") -> dict[str, object]:
    env = os.environ | {"LD_PRELOAD": str(so)}
    command = [sys.executable, "-m", f"tests.faults.{of}", side, str(folder), *more]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=3600)
    assert done.stdout, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("side", "every"), [("spool", 3), ("store", 6), ("journal", 5)])
def test_a_kill_at_file_calls(killpoint: Path, tmp_path: Path, side: str, every: int) -> None:
    found = points(killpoint, side, tmp_path, "--every", str(every))
    assert found["n_bad"] == 0, found
    assert int(str(found["killed"])) >= 20


@pytest.mark.nightly
@pytest.mark.parametrize("side", ["spool", "store", "journal"])
def test_a_kill_at_every_file_call(killpoint: Path, tmp_path: Path, side: str) -> None:
    found = points(killpoint, side, tmp_path)
    print(side, found)
    assert found["n_bad"] == 0, found
    tried = int(str(found["tried"]))
    assert tried == 3 * int(str(found["calls"])) > 100
    assert int(str(found["killed"])) > 0.9 * tried, (
        "threads take turns differently, so the last points may not be reached"
    )


@pytest.mark.parametrize(("side", "every"), [("agent", 5), ("server", 36)])
def test_a_kill_at_file_calls_of_the_whole_program(killpoint: Path, tmp_path: Path, side: str, every: int) -> None:
    found = points(killpoint, side, tmp_path, "--every", str(every), of="whole")
    assert found["n_bad"] == 0, found
    assert int(str(found["killed"])) >= 30


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("side", "files"), [("agent", ["#-head.seg", "mark.tmp"]), ("server", ["incoming/#-#", "index.db-wal"])]
)
def test_a_kill_at_every_file_call_of_the_whole_program(
    killpoint: Path, tmp_path: Path, side: str, files: list[str]
) -> None:
    found = points(killpoint, side, tmp_path, of="whole")
    print(side, found)
    written = [kind for kind in cast(dict[str, int], found["hit"]) if "write" in kind]
    assert all(any(kind.endswith(name) for kind in written) for name in files), (
        "it writes by a call that is not watched"
    )
    assert found["n_bad"] == 0 and found["never_hit"] == [], found
    tried = int(str(found["tried"]))
    assert tried == 3 * (int(str(found["calls"])) + int(str(found["at_the_end"]))) > 100
    assert int(str(found["killed"])) > 0.75 * tried, "a life may be shorter than the longest that was counted"


def killed(one: Rig, kills: int, who: tuple[str, ...] = ("agent", "server"), longest_s: float = 0.7) -> None:
    """Random kills, each after something was promised."""
    rng = random.Random(7)
    for _ in range(kills):
        for side in ("server", "agent"):
            if not one.alive(side):
                one.start(side)
        one.listening()
        one.more()
        end = rng.uniform(0, longest_s)
        one.more(1, end)
        one.kill(rng.choice(who))


def test_twenty_kills(tmp_path: Path) -> None:
    with rig(tmp_path) as one:
        killed(one, 20)
        assert one.drain(), "not everything arrived"
        found = one.judge()
        assert found["ok"] and found["told"] == 0 and found["promised"] >= 40, found


@pytest.fixture
def plugs(tmp_path: Path):  # type: ignore[no-untyped-def]
    if why := no_plug():
        pytest.skip(why)
    try:
        both = Plug(tmp_path, "agent-disk"), Plug(tmp_path, "server-disk")
    except subprocess.CalledProcessError as e:
        pytest.skip(f"NO POWER CUTS: {e.stderr.decode().strip()}")
    yield both
    for plug in both:
        plug.umount()


def unplugged(one: Rig, plugs: tuple[Plug, Plug], cuts: int, sides: tuple[str, ...] = ("agent", "server")) -> None:
    for i in range(cuts):
        for side in ("server", "agent"):
            if side == "server" and "server" not in sides:
                continue  # away: only the spool has the items
            if not one.alive(side):
                one.start(side)
                if side == "server":
                    one.listening()
        one.more(3)
        side = sides[i % len(sides)]
        plugs[side == "server"].pull()
        one.kill(side)
        plugs[side == "server"].mend()


def powered(tmp_path: Path, plugs: tuple[Plug, Plug], **broken: str) -> Rig:
    return Rig(tmp_path, spool=plugs[0].path / "spool", store=plugs[1].path / "store", **broken)


def test_power_cuts(tmp_path: Path, plugs: tuple[Plug, Plug]) -> None:
    one = powered(tmp_path, plugs)
    try:
        unplugged(one, plugs, 2)
        unplugged(one, plugs, 1, ("agent",))
        assert one.drain(), "not everything arrived"
        found = one.judge()
        assert found["ok"] and found["told"] == 0 and found["promised"] >= 9, found
    finally:
        one.end()


# --- and the suite sees it when something is wrong ---


@pytest.mark.nightly
@pytest.mark.parametrize(("side", "fault"), [("server", "ack-early"), ("agent", "seq-reset")])
def test_planted_faults_are_found_by_kills(tmp_path: Path, side: str, fault: str) -> None:
    with rig(tmp_path, **{side: fault}) as one:
        killed(one, 14, (side,), 0.2)
        done = one.drain(20)
        found = one.judge()
        assert not (done and found["ok"]), f"nobody would have noticed {fault}: {found}"


@pytest.mark.parametrize("side", ["agent", "server"])
def test_power_cuts_find_what_is_not_synced(tmp_path: Path, plugs: tuple[Plug, Plug], side: str) -> None:
    one = powered(tmp_path, plugs, **{side: "no-fsync"})
    try:
        if side == "server":
            one.start("server")
            one.listening()
        for _ in range(6):  # on a busy machine the kernel writes by itself before the plug is pulled
            unplugged(one, plugs, 2, (side,))
            done = one.drain(10)
            found = one.judge()
            if not (done and found["ok"]) or found["told"]:
                return
        pytest.fail(f"nobody would have noticed: {found}")
    finally:
        one.end()


@pytest.mark.nightly
@pytest.mark.parametrize(("side", "fault", "every"), [("agent", "seq-reset", 6), ("server", "ack-early", 30)])
def test_planted_faults_are_found_at_file_calls(
    killpoint: Path, tmp_path: Path, side: str, fault: str, every: int
) -> None:
    assert points(killpoint, side, tmp_path, "--every", str(every), "--break", fault, of="whole")["n_bad"]


def test_the_kill_points_see_numbers_that_are_used_twice(killpoint: Path, tmp_path: Path) -> None:
    assert points(killpoint, "spool", tmp_path, "--every", "20", "--break", "seq-reset")["n_bad"]


def test_the_kill_points_see_an_answer_before_the_item_is_stored(killpoint: Path, tmp_path: Path) -> None:
    assert points(killpoint, "store", tmp_path, "--every", "40", "--break", "ack-early")["n_bad"]
