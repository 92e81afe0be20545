"""The same promise by HTTP PUT, big items in parts: kills of both ends, judged by the oracle and by `archive fsck`."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.rig import ROOT, Rig, rig

pytestmark = pytest.mark.timeout(600)


def fsck(one: Rig) -> dict[str, Any]:
    command = [sys.executable, "-m", "agent.cli", "archive", "fsck", "--json"]
    command += ["--store", str(one.store), "--ledger", str(one.ledger)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 0) is found["ok"], done
    return found


def killed(one: Rig, kills: int) -> None:
    rng = random.Random(3)
    for _ in range(kills):
        for side in ("server", "agent"):
            if not one.alive(side):
                one.start(side)
        one.listening()
        one.more()
        one.more(1, rng.uniform(0, 0.7))
        one.kill(rng.choice(("agent", "server")))


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.nightly)])
def test_kills(tmp_path: Path, kills: int) -> None:
    with rig(tmp_path) as one:
        # At 40 frames a second of 120 kB a clip of a quarter of a second goes in two parts.
        one.args["agent"] = ["--way", "http", "--size", "120000"]
        killed(one, kills)
        assert one.drain(), "not everything arrived"
        by_oracle, found = one.judge(), fsck(one)
    assert by_oracle["ok"] and found["ok"], (by_oracle, found)
    assert found["promised"] == by_oracle["promised"] >= kills
    assert found["stored"] == by_oracle["stored"]
    sizes = [p.stat().st_size for p in (one.store / "items").rglob("*.clip")]
    assert max(sizes) > 1024 * 1024, "some went in parts"


def test_the_two_judges_agree_on_a_planted_loss(tmp_path: Path) -> None:
    """A server that acknowledges before it has stored anything, killed."""
    with rig(tmp_path, server="ack-early") as one:
        one.args["agent"] = ["--way", "http"]
        killed(one, 10)
        one.drain(10)
        one.kill("server")  # it may be storing still what it acknowledged
        by_oracle, found = one.judge(), fsck(one)
    names = ("promised", "stored", "dup", "torn", "wrong")
    assert {k: found[k] for k in names} == {k: by_oracle[k] for k in names}
    # fsck also misses what left before it was durable at home, and was answered: no ledger promised that.
    assert found["lost"] >= by_oracle["lost"] > 0 and not found["ok"] and not by_oracle["ok"]
