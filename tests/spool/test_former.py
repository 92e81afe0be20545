"""A camera that was deleted and added again: what the former one had stays acknowledged, over restarts and crashes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agent.frame import ItemType, Worth
from agent.outbox import MemoryOutbox
from agent.spool.acks import FORMER, Acks
from agent.spool.ranges import Ranges
from agent.spool.store import Spool
from agent.spool.tombstones import NOT_OURS
from tests.spool.test_refill import deliver, open_spool, until

X, Y, Z = "0000000000000001", "0000000000000002", "0000000000000003"


async def waiting(outbox: Any) -> list[int]:
    session = outbox.session()
    return [(await session.take()).seq for _ in range(outbox.backlog().waiting_items)]


async def noted(spool: Spool, camera_id: str) -> Any:
    """What the file says of the sink once it names the camera, without being asked to be saved."""

    def read() -> Any:
        path = spool.disk.folder / "acks.json"
        return json.loads(path.read_text())["a"] if path.exists() else []

    await until(lambda: isinstance(read(), dict) and read()["camera_id"] == camera_id)
    return read()


async def test_only_what_nobody_had_is_sent_to_a_new_camera_of_the_name(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    spool.outbox("a").resume(0, camera_id=X)
    await deliver(spool, 3, "a")
    await deliver(spool, 2)
    await spool.close()
    for told, declared in ((0, [(1, 3, FORMER)]), (2, [(3, 3, FORMER)]), (3, []), (0, [(1, 3, FORMER)])):
        spool = open_spool(tmp_path)  # also where the new one is restored from a backup in between
        outbox = spool.outbox("a")
        outbox.resume(told, camera_id=Y)
        assert (await waiting(outbox), outbox.dropped()) == ([4, 5], declared)
        assert outbox.backlog().missing == {}
        await spool.close()
    spool = open_spool(tmp_path)
    outbox = spool.outbox("a")
    outbox.resume(0, camera_id=Y)
    outbox.ack(5)
    assert outbox.dropped() == [] and outbox.idle
    await deliver(spool, 1)
    outbox.resume(0, camera_id=Z)
    assert (await waiting(outbox), outbox.dropped()) == ([6], [(1, 5, FORMER)])
    await spool.close()


async def test_the_same_camera_gets_again_what_it_lost(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    outbox = spool.outbox("a")
    outbox.resume(0, camera_id=X)
    await deliver(spool, 2, "a")
    outbox.resume(0, camera_id=Y)
    await deliver(spool, 3, "a")
    await spool.close()
    spool = open_spool(tmp_path)
    outbox = spool.outbox("a")
    outbox.resume(3, camera_id=Y)
    assert await waiting(outbox) == [4, 5]
    outbox.ack(5)
    outbox.resume(3)  # a server that names no camera, as one of an older program does
    assert await waiting(outbox) == [4, 5]
    await spool.close()


async def test_each_sink_has_a_camera_of_its_own(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, "a", "b", "files")
    for sink in ("a", "b"):
        spool.outbox(sink).resume(0, camera_id=X)
    await deliver(spool, 3, "a", "b", "files")
    await spool.close()
    spool = open_spool(tmp_path, "a", "b", "files")
    spool.outbox("a").resume(0, camera_id=Y)
    spool.outbox("b").resume(1, camera_id=X)
    assert [await waiting(spool.outbox(s)) for s in ("a", "b", "files")] == [[], [2, 3], []]
    assert [spool.outbox(s).dropped() for s in ("a", "b", "files")] == [[(1, 3, FORMER)], [], []]
    await spool.close()
    await open_spool(tmp_path, "b").close()  # a way that is taken out for a while
    spool = open_spool(tmp_path, "a", "b")
    spool.outbox("a").resume(0, camera_id=Y)
    assert await waiting(spool.outbox("a")) == []
    await spool.close()


async def test_acknowledgements_of_an_older_program_are_those_of_the_camera_that_is_met_first(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    await deliver(spool, 3, "a")
    await deliver(spool, 1)
    await spool.close()
    assert json.loads((tmp_path / "acks.json").read_text()) == {"a": [[1, 3]]}
    spool = open_spool(tmp_path)
    outbox = spool.outbox("a")
    assert await waiting(outbox) == [4]
    outbox.resume(2, camera_id=X)
    assert (await waiting(outbox), outbox.dropped()) == ([3, 4], [])
    assert await noted(spool, X) == {"camera_id": X, "acked": [[1, 2]], "former": []}
    await spool.close()


@pytest.mark.parametrize("last", ["at once", "later"])
async def test_a_power_cut_brings_nothing_back(tmp_path: Path, last: str) -> None:
    """Before the new camera is noted the file tells of the former one, and after it of both."""
    spool = open_spool(tmp_path / "spool")
    spool.outbox("a").resume(0, camera_id=X)
    await deliver(spool, 3, "a")
    await deliver(spool, 1)
    spool.disk.acks.save()
    shutil.copytree(tmp_path / "spool", tmp_path / "cut" / "spool")
    outbox = spool.outbox("a")
    outbox.resume(0, camera_id=Y)
    outbox.ack(0, [(4, 4)])
    if last == "later":
        await noted(spool, Y)
        shutil.rmtree(tmp_path / "cut")
        shutil.copytree(tmp_path / "spool", tmp_path / "cut" / "spool")
    await spool.close()
    (tmp_path / "cut" / "spool" / "place").unlink()
    shutil.rmtree(tmp_path / "spool")
    (tmp_path / "cut" / "spool").rename(tmp_path / "spool")
    spool = open_spool(tmp_path / "spool")
    outbox = spool.outbox("a")
    outbox.resume(0, [(4, 4)], camera_id=Y)
    assert await waiting(outbox) == []
    assert {n for a, b, why in outbox.dropped() for n in range(a, b + 1) if why == FORMER} >= {1, 2, 3}
    await spool.close()


def test_every_state_between_two_cameras_is_right_in_the_file(tmp_path: Path) -> None:
    """The writer's thread may save at any moment of the change."""

    class Watched(dict):  # type: ignore[type-arg]
        def __setitem__(self, key: Any, value: Any) -> None:
            super().__setitem__(key, value)
            acks.save()
            states.append(Acks(path, ["a"]))

    path, states = tmp_path / "acks.json", list[Acks]()
    acks = Acks(path, ["a"])
    acks.resume("a", Ranges([(1, 5)]), X)
    acks._peers, acks.by_sink = Watched(acks._peers), Watched(acks.by_sink)
    assert acks.resume("a", Ranges([(7, 8)]), Y)
    assert len(states) == 2
    for state in states:
        state.resume("a", Ranges(), Y)
        assert state.by_sink["a"].covers(1, 5)
        assert state.peer("a").camera_id == Y


async def test_numbers_that_a_copy_may_use_are_not_declared(tmp_path: Path) -> None:
    """Its camera would take them for settled, and the copy would never send its items."""
    spool = open_spool(tmp_path)
    outbox = spool.outbox("a")
    outbox.resume(0, camera_id=X)
    await deliver(spool, 2, "a")
    spool.disk.give_up(3, 1000, NOT_OURS)
    spool.next_seq = spool.disk.next_seq = 1001
    await deliver(spool, 1, "a")
    outbox.ack(7)  # the copy's, too
    outbox.resume(0, camera_id=Y)
    assert outbox.dropped() == [(1, 2, FORMER), (1001, 1001, FORMER)]
    assert outbox.idle
    await spool.close()


async def test_a_file_of_acknowledgements_that_is_rotten_is_none(tmp_path: Path) -> None:
    for text in ('{"a": {"camera_id": "x"}}', '{"a": {"acked": 5}}', '{"a": 5}', "[]", '{"a": {"camera_id": 1'):
        (tmp_path / "acks.json").write_text(text)
        assert not Acks(tmp_path / "acks.json", ["a"])


async def test_a_memory_outbox_declares_what_a_former_camera_had() -> None:
    outbox = MemoryOutbox("porch")
    outbox.resume(0, camera_id=X)
    for i in range(4):
        outbox.put(ItemType.CLIP, 1, i, b"x", Worth.HEAD)
    outbox.ack(2)
    outbox.resume(0, camera_id=Y)
    assert (await waiting(outbox), outbox.dropped()) == ([3, 4], [(1, 2, FORMER)])
    outbox.ack(3)
    assert outbox.dropped() == []
    outbox.resume(0, camera_id=Y)  # from an older backup
    assert outbox.dropped() == [(1, 2, FORMER), (3, 3, "quota")]
    assert outbox.backlog().missing == {"quota": 1}
