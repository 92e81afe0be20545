"""Clocks that are set while everything runs: hours back, a day ahead, 1970 after a start without a battery."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.faults.rig import Rig, rig

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600)]
DAY_S = 86_400
JUMPS_S = (-3600, DAY_S, -400 * DAY_S, 400 * DAY_S, 0, -time.time(), 0)


def fake(one: Rig, side: str, clock: Path) -> None:
    """This side's wall clock is `clock` seconds away from the true one; monotonic clocks are not touched."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        pytest.skip("NO CLOCK JUMPS: libfaketime is not installed here (Debian: faketime)")
    one.env[side] = {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }


def jump(clock: Path, by_s: float) -> None:
    clock.with_suffix(".new").write_text(f"{by_s:+.0f}\n")
    os.replace(clock.with_suffix(".new"), clock)


@pytest.mark.parametrize("side", ["agent", "server"])
def test_nothing_is_lost_when_a_clock_jumps(tmp_path: Path, side: str) -> None:
    clock = tmp_path / "clock"
    jump(clock, 0)
    with rig(tmp_path) as one:
        fake(one, side, clock)
        one.start("server")
        one.listening()
        one.start("agent")
        for i, by_s in enumerate(JUMPS_S):
            one.more(10)
            jump(clock, by_s)
            if i % 2:
                one.kill(side)
                one.start(side)
        one.more(10)
        jump(clock, 0)
        assert one.drain(), "not everything arrived"
        found = one.judge()
        files = sum(path.is_file() for path in (one.store / "items").rglob("*"))
    assert found["ok"] and found["told"] == 0 and found["promised"] >= 70, found
    assert files >= found["promised"], "what a clock that was wrong for a moment takes for old is deleted"
