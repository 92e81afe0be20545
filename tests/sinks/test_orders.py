"""Commands: a closed list, each done once, none after its end, by the server's time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from agent import remote
from agent.armed import Armed
from agent.frame import Codec, Frame, ItemType
from agent.media import jpeg
from agent.pipeline import Pipeline
from agent.sinks.orders import Orders

HOUR_NS = 3_600_000_000_000
AHEAD_NS = 400 * 24 * HOUR_NS  # this machine's clock is a year behind the server's


def orders() -> tuple[Orders, list[dict[str, Any]]]:
    done: list[dict[str, Any]] = []

    async def snapshot(args: dict[str, Any]) -> str:
        done.append(args)
        return "taken"

    box = Orders({"snapshot": snapshot})
    box.set_clock(time.time_ns() + AHEAD_NS)
    return box, done


def cmd(id_: object = "c1", do: object = "snapshot", exp_s: float | None = 10, **more: Any) -> dict[str, Any]:
    body = {"t": "cmd", "id": id_, "do": do, "args": {}} | more
    return body | ({"exp_ns": time.time_ns() + AHEAD_NS + round(exp_s * 1e9)} if exp_s is not None else {})


async def test_a_command_is_done_and_answered() -> None:
    box, done = orders()
    assert await box.obey(cmd()) == {"t": "done", "id": "c1", "ok": True, "result": "taken"}
    assert done == [{}]


async def test_a_repeat_is_refused_also_over_another_connection() -> None:
    box, done = orders()
    await box.obey(cmd())
    box.set_clock(time.time_ns() + AHEAD_NS)
    assert (await box.obey(cmd()))["error"] == "repeated"
    assert len(done) == 1


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"exp_s": -1}, "expired"),
        ({"exp_s": None}, "needs its end"),
        ({"exp_s": 3700}, "more than an hour"),
        ({"id_": 7}, "needs an id"),
        ({"id_": "x" * 65}, "needs an id"),
        ({"do": "reboot"}, "no such command"),
        ({"do": ["snapshot"]}, "no such command"),
        ({"do": "arm"}, "no such command"),
    ],
)
async def test_what_is_not_obeyed(changed: dict[str, Any], error: str) -> None:
    box, done = orders()
    answer = await box.obey(cmd(**changed))
    assert not answer["ok"] and error in answer["error"] and not done


class Still:
    """A camera that has nothing to say."""

    label = "still"

    async def run(self, publish: object) -> None: ...


async def test_what_a_camera_does_when_asked() -> None:
    pipeline = Pipeline("porch", Still(), [Still()], analyse=None)  # type: ignore[arg-type]
    orders = Orders(remote.commands(pipeline, Armed(None)))
    outbox = pipeline.ways[0].outbox.session()
    assert not (await orders.ask("snapshot", {}))["ok"], "there is no picture yet"
    frames = [Frame(Codec.JPEG, b"\xff\xd8%d" % i, True, i * 100_000_000, i, i) for i in range(200)]
    pipeline._publish(frames[0])
    assert await orders.ask("snapshot", {}) == {"ok": True, "result": {"wall_ns": 0}}
    assert ((item := await outbox.take()).type, item.payload) == (ItemType.STILL, frames[0].data)
    assert not (await orders.ask("clip", {"seconds": 600}))["ok"]
    assert (await orders.ask("clip", {"seconds": 3}))["ok"]
    for frame in frames[1:100]:
        pipeline._publish(frame)
    assert pipeline.counters.events == 1 and pipeline.recorder.event == 0, "3 s and the post-roll, then it ended"
    seen = 0
    with pipeline.hub.subscribe(200) as live:
        await orders.ask("fps", {"fps": 2})
        for frame in frames[100:140]:
            pipeline._publish(frame)
        seen = len(live._frames)
    assert 7 <= seen <= 11, "4 s at 2 a second"
    assert await orders.ask("disarm", {}) == {"ok": True, "result": {"kept": False}}
    assert not pipeline.armed
    await orders.ask("arm", {})
    assert pipeline.armed


async def test_a_snapshot_of_h264_is_its_keyframe_decoded(tmp_path: Path) -> None:
    from tests.videos import film, units

    pipeline = Pipeline("gate", Still(), [Still()], analyse=None)  # type: ignore[arg-type]
    orders = Orders(remote.commands(pipeline, Armed(None)))
    outbox = pipeline.ways[0].outbox.session()
    for unit in units(film(tmp_path / "a.mp4", 5)):
        pipeline._publish(Frame(unit.codec, unit.data, unit.keyframe, unit.index, unit.index, unit.index))
    assert await orders.ask("snapshot", {}) == {"ok": True, "result": {"wall_ns": 0}}
    item = await outbox.take()
    assert item.type is ItemType.STILL and b"derived from h264" in item.payload
    assert (jpeg.inspect(item.payload).width, jpeg.complete(item.payload)) == (320, True)
