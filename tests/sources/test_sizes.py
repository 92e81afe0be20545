"""Another size that lasts begins a new run; sizes that go to and fro do not make an event of each change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import pytest

from agent.frame import Clip, Codec, Decision, Frame
from agent.media.h264 import ParameterSets
from agent.media.jpeg import inspect
from agent.pipeline import Pipeline
from agent.recorder import Closed, Opened
from agent.sources import groups as groups_module
from agent.sources.groups import Groups
from agent.sources.mjpeg import MjpegSource
from agent.sources.sizes import Sizes
from tests.pictures import jpeg, raw_server
from tests.sources.test_mjpeg import MULTIPART
from tests.videos import film, units

A, B, C = jpeg(1, 64, 48), jpeg(2, 80, 48), jpeg(3, 96, 48)
NAMES = {A: "A", B: "B", C: "C"}
SECOND = 1_000_000_000


def numbered(pictures: str, fps: float = 10.0) -> list[str]:
    """What is published of so many pictures, with its number, which begins anew with each run."""
    sizes, by_name = Sizes(), {name: data for data, name in NAMES.items()}
    found = [(name, sizes.number(by_name[name], round((100 + i / fps) * SECOND))) for i, name in enumerate(pictures)]
    kept = [f"{name}{index}" for name, index in found if index is not None]
    assert sizes.left_out == len(found) - len(kept)
    return kept


def test_another_size_begins_a_run_and_loses_nothing() -> None:
    assert numbered("AABBBACA") == ["A0", "A1", "B0", "B1", "B2", "A0", "C0"]
    assert numbered("AABBAABBAABB", fps=0.3)[-2:] == ["B0", "B1"]


@pytest.mark.parametrize("size", range(1, 25))
def test_sizes_that_go_to_and_fro_are_one_run_in_the_end(size: int) -> None:
    found = numbered(("A" * size + "B" * size) * (1000 // size))
    assert sum(name[1:] == "0" for name in found) <= 5
    assert len(found) > 450


def test_one_of_another_size_among_them_is_missing_in_the_numbers() -> None:
    assert numbered("ABABABAACAA") == ["A0", "B0", "A0", "B0", "B2"]


def test_after_many_changes_another_size_is_believed_that_lasts() -> None:
    found = numbered("ABAB" + "A" * 60)
    assert found[:4] == ["A0", "B0", "A0", "B0"] and found[4:] == [f"A{i}" for i in range(10)]
    assert numbered("ABAB" + "A" * 60 + "B" * 60 + "A" * 3)[-3:] == ["A0", "A1", "A2"]


def test_what_never_comes_again_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(numbered("ABCA" + "BC" * 100)) > 50
    monkeypatch.setattr(groups_module, "parameter_sets", lambda codec, data: ParameterSets(codec, (), (data,), (data,)))
    groups = Groups()  # an encoder that describes each keyframe differently
    placed = [groups.place(Frame(Codec.H264, b"%d" % n, True, 2 * n * SECOND, 0, n)) for n in range(60)]
    assert sum(frame is not None for frame in placed) == 4 + 11


def test_after_many_changes_other_parameter_sets_are_believed_that_last(tmp_path: Path) -> None:
    groups = Groups()
    small, large = (units(film(tmp_path / f"{w}.mp4", 1, size=(w, 240)))[0] for w in (320, 640))
    sent = [small, large] * 2 + [small] * 8 + [large]
    placed = [groups.place(Frame(Codec.H264, u.data, True, n * SECOND, 0, n)) for n, u in enumerate(sent, 100)]
    assert [f and f.index for f in placed] == [0, 0, 0, 0, *[None] * 5, 0, 1, 2, 0]
    assert (groups.left_out, groups.lost) == (5, 5)


@pytest.mark.parametrize(("each", "events"), [(1, 4), (2, 4), (5, 4)])
async def test_a_camera_of_two_sizes_makes_no_event_of_each_change(each: int, events: int) -> None:
    """Everything moves."""
    told: list[Opened | Closed] = []
    widths: list[set[int]] = []

    class Keeping(Pipeline):
        def _emit(self, what: Opened | Clip | Closed) -> None:
            if isinstance(what, Clip):
                widths.append({inspect(f.data).width for f in what.frames})
            else:
                told.append(what)

    async def script(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def sizes() -> Iterator[tuple[int, int]]:
            yield from cycle([(64, 48)] * each + [(80, 48)] * each)

        writer.write(MULTIPART)
        for i, (width, height) in enumerate(islice(sizes(), 80)):
            data = jpeg(i, width, height)
            writer.write(b"--frame\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            await asyncio.sleep(0.02)

    async with raw_server(script) as port:
        source = MjpegSource(f"http://127.0.0.1:{port}/")
        pipeline = Keeping("porch", source, [], analyse=lambda _: Decision(True, 0.5), analyses_per_s=50)
        run = asyncio.create_task(pipeline.run())
        async with asyncio.timeout(30):
            while pipeline.counters.frames < 2 or pipeline.health.up:
                await asyncio.sleep(0.02)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
    assert sum(isinstance(t, Opened) for t in told) == events
    assert widths and all(len(w) == 1 for w in widths)
