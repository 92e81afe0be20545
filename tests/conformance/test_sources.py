"""Every registered source through the same checks: what `Source` promises, whoever made the camera."""

import asyncio
import gc
import logging
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent import sources
from agent.errors import AgentError, PermanentError, TransientError
from agent.frame import Codec, Frame
from agent.media import jpeg
from tests.conformance.rigs import CAMERAS_OWN, RIGS, SECRET, STALL_S, Rig
from tests.pictures import collect

BOUND_S = 5.0


def test_every_registered_source_is_here() -> None:
    assert set(RIGS) == set(sources.KINDS), "a new source needs a rig in tests/conformance/rigs.py"


@pytest.fixture(params=sorted(RIGS))
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with RIGS[request.param](tmp_path) as made:
        yield made


def open_things() -> tuple[set[str], set[str], int]:
    """Descriptors by what they lead to, threads, tasks; sockets of the rig's own servers do not change meanwhile."""
    leads = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            leads.append(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
        except OSError:
            continue
    threads = {t.name for t in threading.enumerate() if not t.name.startswith("asyncio_")}
    leads = [x for x in leads if not x.endswith(CAMERAS_OWN)]
    return set(leads), threads, len(asyncio.all_tasks())


async def settled(before: tuple[set[str], set[str], int]) -> bool:
    """Nothing is open that was not before; what closes is given a while."""
    gc.collect()
    for _ in range(200):
        now = open_things()
        if now[0] <= before[0] and now[1] <= before[1] and now[2] <= before[2]:
            return True
        await asyncio.sleep(0.02)
    return False


def left(before: tuple[set[str], set[str], int]) -> str:
    now = open_things()
    tasks = [str(t) for t in asyncio.all_tasks()] if now[2] > before[2] else []
    return f"left open: {now[0] - before[0]} {now[1] - before[1]} {tasks}"


async def test_the_cameras_own_bytes_come_in_order(rig: Rig) -> None:
    frames, error = await collect(rig.source, 20, 30)
    assert error is None and len(frames) >= 20
    assert [f.index for f in frames] == list(range(len(frames)))
    assert all(f.keyframe and jpeg.complete(f.data) for f in frames if f.codec is Codec.JPEG)
    assert frames[0].keyframe
    if rig.pictures is not None:
        first = rig.pictures.index(frames[0].data)
        assert [f.data for f in frames] == [rig.pictures[(first + i) % 8] for i in range(len(frames))]
    times = [f.pts_ns for f in frames]
    assert times == sorted(times) and all(f.wall_ns > 1_600_000_000 * 10**9 for f in frames)


async def test_a_run_after_a_run_begins_anew(rig: Rig) -> None:
    for _ in range(2):
        frames, _ = await collect(rig.source, 3)
        assert [f.index for f in frames[:3]] == [0, 1, 2]


async def test_cancelled_at_any_time_it_ends_soon_and_leaves_nothing(rig: Rig) -> None:
    await collect(rig.source, 1)  # what a first time loads stays loaded
    before = open_things()
    for after in (0, 0, 1, 5):
        enough, count = asyncio.Event(), 0

        def publish(_: Frame, after: int = after, enough: asyncio.Event = enough) -> None:
            nonlocal count
            count += 1
            if count >= after:
                enough.set()

        run = asyncio.create_task(rig.source.run(publish))
        if after:
            await asyncio.wait_for(enough.wait(), 30)
        else:
            await asyncio.sleep(0.01)
        run.cancel()
        done, _ = await asyncio.wait([run], timeout=BOUND_S)
        assert done and run.cancelled()
        after_end = count
        await asyncio.sleep(0.05)
        assert count == after_end, "it goes on publishing"
    assert await settled(before), left(before)


async def test_a_camera_that_stalls_is_found(rig: Rig) -> None:
    if rig.stalled is None:
        pytest.skip("this source has nothing that could stall")
    await collect(rig.stalled, 1)
    before = open_things()
    frames, error = await collect(rig.stalled, 0, 30)
    assert len(frames) == 3
    assert type(error) is TransientError and f"no picture for {STALL_S:g} s" in str(error)
    assert str(error).startswith(rig.stalled.label)
    rig.frees()
    assert await settled(before), left(before)


async def test_a_camera_that_is_not_there_is_an_expected_error(rig: Rig) -> None:
    await collect(rig.source, 1)
    before = open_things()
    frames, error = await collect(rig.absent, 0, 30)
    assert not frames and type(error) is rig.absent_raises and isinstance(error, AgentError)
    assert "\n" not in str(error) and rig.absent.label in str(error)
    if isinstance(error, PermanentError):
        assert error.exit_code in (66, 69, 77)
    assert await settled(before)


async def test_a_bug_of_the_taker_leaves_by_the_run(rig: Rig) -> None:
    def publish(_: Frame) -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        await asyncio.wait_for(rig.source.run(publish), 30)


async def test_no_secret_is_told(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = [repr(rig.source), rig.source.label]
    for source, count in ((rig.source, 2), (rig.absent, 0)):
        said.append(str((await collect(source, count))[1]))
    assert SECRET not in " ".join(said) + caplog.text


async def test_two_of_them_do_not_disturb_each_other(rig: Rig) -> None:
    if rig.stalled is None:
        pytest.skip("this source has nothing that could stall")
    (well, error), (ill, stall) = await asyncio.gather(collect(rig.source, 40, 30), collect(rig.stalled, 0, 30))
    assert error is None and len(well) >= 40 and len(ill) == 3 and isinstance(stall, TransientError)
