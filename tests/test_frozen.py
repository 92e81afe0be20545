"""A camera that repeats one picture is told of once, and once more when it moves again."""

import asyncio
import json
from pathlib import Path

from agent.frame import Item, ItemType
from agent.frozen import Frozen, StillPicture
from agent.media.footage import open_footage
from agent.pipeline import Pipeline
from agent.recorder import Closed, EventSettings, Opened
from agent.simulate import SimulatedCamera
from agent.sinks import Feed
from agent.sources.mjpeg import MjpegSource
from tests.frames import frame
from tests.pictures import avi, jpegs


def play(pictures: str, after_s: float = 3.0) -> list[tuple[int, Frozen]]:
    """One letter a second; what was said, and at which second."""
    said: list[tuple[int, Frozen]] = []
    now = 0
    watcher = StillPicture(after_s, lambda f: said.append((now, f)))
    for now, letter in enumerate(pictures):
        watcher.frame(frame(now, now, letter.encode()))
    return said


def test_it_is_said_once_and_again_when_it_is_over() -> None:
    wall = [frame(i, i).wall_ns for i in range(12)]
    assert play("abccccccccde") == [(5, Frozen(wall[2])), (10, Frozen(wall[2], wall[10]))]


def test_a_camera_that_moves_is_not_frozen() -> None:
    assert play("abcabcabcaabbcc") == [] and play("aaa") == []
    assert play("aaaaaaaa", after_s=0) == []


class KeepingSink:
    """Stores what it is given."""

    label = "here"

    def __init__(self) -> None:
        self.items: list[Item] = []

    async def run(self, feed: Feed) -> None:
        feed.up()
        session = feed.outbox.session()
        while True:
            self.items.append(await session.take())
            feed.outbox.ack(len(self.items))


async def test_a_frozen_camera_is_an_event_record_and_no_error(tmp_path: Path) -> None:
    pictures = jpegs(12)
    (tmp_path / "film.avi").write_bytes(avi(pictures))
    cam = SimulatedCamera(open_footage(str(tmp_path / "film.avi")), fps=50, loop=False, keep=99, faults=["freeze@2+8"])
    port = await cam.start()
    told: list[Opened | Closed | Frozen] = []
    over = asyncio.Event()

    def observe(_: str, what: Opened | Closed | Frozen) -> None:
        told.append(what)
        if isinstance(what, Frozen) and what.end_ns:
            over.set()

    sink, source = KeepingSink(), MjpegSource(f"http://127.0.0.1:{port}/video.cgi")
    settings = EventSettings(frozen_after_s=0.05)
    pipeline = Pipeline("porch", source, [sink], analyse=None, events=settings, observer=observe)
    run = asyncio.create_task(pipeline.run())
    async with asyncio.timeout(60):
        await over.wait()
    await pipeline.stop()
    run.cancel()
    await asyncio.gather(run, cam.close(), return_exceptions=True)
    begun, ended = told
    assert isinstance(begun, Frozen) and isinstance(ended, Frozen) and not begun.end_ns
    assert ended.wall_ns == begun.wall_ns < ended.end_ns
    assert pipeline.counters.frozen == 1 and pipeline.counters.events == 0
    assert [(i.type, i.event) for i in sink.items] == [(ItemType.EVENT, 0)] * 2
    assert [json.loads(i.payload) for i in sink.items] == [
        {"event": 0, "state": "open", "reason": "frozen", "wall_ns": begun.wall_ns},
        {"event": 0, "state": "closed", "why": "frozen", "wall_ns": begun.wall_ns, "end_ns": ended.end_ns},
    ]
