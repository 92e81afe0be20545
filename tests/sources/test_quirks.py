"""The twelve classes of what cameras do to MJPEG over HTTP, each played by the fake camera over a real socket."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent.errors import PermanentError, TransientError
from agent.frame import Clip, Decision
from agent.media import jpeg as jpegs_of
from agent.media import spoil
from agent.media.footage import open_footage
from agent.motion.luma import jpeg_luma
from agent.pipeline import Pipeline
from agent.recorder import Closed, Opened
from agent.simulate import LOGINS, SimulatedCamera
from agent.sources.mjpeg import MjpegSource
from tests.pictures import avi, collect, jpeg, jpegs

GREY = cv2.imencode(".jpg", np.arange(64 * 48, dtype=np.uint8).reshape(48, 64))[1].tobytes()
PICTURES = [*jpegs(6), jpeg(6, 320, 240), GREY, *jpegs(4)]
Change = Callable[[bytes], bytes]


def same(picture: bytes) -> bytes:
    return picture


# Class of the quirk → (style, faults, what each picture becomes on its way).
WHOLE: dict[str, list[tuple[str, tuple[str, ...], Change]]] = {
    "1 names of the boundary": [(s, (), same) for s in ("dcs920", "quoted", "charset", "capitals", "unnamed")],
    "2 places of the boundary": [(s, (), same) for s in ("tasmota", "doubled", "renamed")],
    "3 no length": [
        ("ffmpeg", (), same),
        ("ffmpeg", ("thumbnail",), spoil.with_thumbnail),
        ("dcs920", ("no-length",), same),
    ],
    "4 wrong lengths": [
        (style, (f"wrong-length={n}",), same) for style in ("dcs920", "plain") for n in (48, 1000, -500, 1000000)
    ],
    "5 fields in any order": [("status", (), same), ("unix", (), same)],
    "6 splits, bursts, junk": [
        ("dcs920", ("pieces=1@0+3",), same),
        ("ffmpeg", ("pieces=700",), same),
        ("plain", ("burst=4",), same),
        ("junk", (), same),
        ("junk", ("no-length",), same),
    ],
    "7 types that do not fit": [(s, (), same) for s in ("octets", "untyped", "bare")],
    "8 hardly HTTP": [(s, (), same) for s in ("icy", "keep-alive")],
    "11 odd JPEGs": [
        ("plain", ("no-tables",), spoil.without_tables),
        ("ffmpeg", ("no-tables", "odd-segments"), lambda p: spoil.with_odd_segments(spoil.without_tables(p))),
        ("plain", ("odd-segments",), spoil.with_odd_segments),
        ("plain", ("thumbnail", "wrong-length=48"), spoil.with_thumbnail),
    ],
}
CASES = [(name, *how) for name, rows in WHOLE.items() for how in rows]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.avi"
    path.write_bytes(avi(PICTURES))
    return path


@asynccontextmanager
async def camera(film: Path, **how: Any) -> AsyncIterator[SimulatedCamera]:
    cam = SimulatedCamera(open_footage(str(film)), **({"fps": 60, "loop": False, "keep": 100} | how))
    await cam.start()
    try:
        yield cam
    finally:
        await cam.close()


def source(cam: SimulatedCamera, path: str = "/video.cgi", **settings: Any) -> MjpegSource:
    return MjpegSource(f"http://127.0.0.1:{cam.port}{path}", **settings)


@pytest.mark.parametrize(("name", "style", "faults", "change"), CASES)
async def test_every_picture_arrives_as_it_was_sent(
    film: Path, name: str, style: str, faults: tuple[str, ...], change: Change
) -> None:
    async with camera(film, style=style, faults=faults) as cam:
        frames, error = await collect(source(cam))
    assert isinstance(error, TransientError) and "ended the stream" in str(error)
    assert [f.data for f in frames] == [change(p) for p in PICTURES]
    assert [f.index for f in frames] == [*range(6), 0, *range(5)], "another size begins a new run"


async def test_3_and_12_parts_padded_behind_the_picture_keep_what_the_length_covers(film: Path) -> None:
    async with camera(film, style="padded") as cam:
        frames, _ = await collect(source(cam))
    assert [f.data[: len(p)] for f, p in zip(frames, PICTURES, strict=True)] == PICTURES
    assert all(jpegs_of.complete(f.data) for f in frames)


async def test_7_a_stream_where_a_still_was_expected_and_the_reverse(film: Path) -> None:
    async with camera(film, faults=["swapped"]) as cam:
        frames, _ = await collect(source(cam, "/image.jpg"))
        assert [f.data for f in frames] == PICTURES
        still, _ = await collect(source(cam, poll_s=0.01), 3)
        assert len(still) == 3 and set(f.data for f in still) <= set(PICTURES)


@pytest.mark.parametrize("login", sorted(LOGINS))
@pytest.mark.parametrize("uses", [1, 2, 1000])
async def test_9_every_login_works_and_nonces_may_go_stale(film: Path, login: str, uses: int) -> None:
    """A still is asked for again and again, so that nonces are used up; no password is ever sent wrongly twice."""
    async with camera(film, username="ad:min"[:2] + "min", password='p"w: ü', login=login, nonce_uses=uses) as cam:
        frames, _ = await collect(source(cam, "/image.jpg", username="admin", password='p"w: ü', poll_s=0.01), 5)
        assert len(frames) == 5
        assert cam.refused == (0 if login == "basic" else 1), "only Basic, sent before the camera asked for Digest"
        stale = 0 if login == "basic" or uses > 5 else 5 // uses
        assert cam.connections <= 5 + 1 + stale + 1


@pytest.mark.parametrize("login", sorted(LOGINS))
async def test_9_a_wrong_password_is_tried_once_in_each_way(film: Path, login: str) -> None:
    async with camera(film, username="admin", password="right", login=login) as cam:
        _, error = await collect(source(cam, username="admin", password="wrong"))
        assert isinstance(error, PermanentError) and error.exit_code == 77
        assert cam.connections == (1 if login == "basic" else 2)


async def test_9_redirects(film: Path) -> None:
    async with camera(film, faults=["redirect"], username="admin", password="pw") as cam:
        frames, _ = await collect(source(cam, username="admin", password="pw"))
        assert len(frames) == len(PICTURES) and cam.refused == 0
    async with camera(film, faults=["redirect-away"], username="admin", password="pw") as cam:
        _, error = await collect(source(cam, username="admin", password="pw"))
        assert isinstance(error, PermanentError) and "another host (192.0.2.1)" in str(error)


async def test_10_a_stall_is_found_and_the_next_run_goes_on(film: Path) -> None:
    async with camera(film, faults=["stall@4"], loop=True) as cam:
        frames, error = await collect(source(cam, stall_timeout_s=0.3))
        assert len(frames) == 4 and "no picture for 0.3 s" in str(error)
        again, _ = await collect(source(cam, stall_timeout_s=0.3), 3)
        assert [f.index for f in again] == [0, 1, 2]


async def test_10_a_frozen_picture_is_no_error(film: Path) -> None:
    async with camera(film, faults=["freeze@5+4"]) as cam:
        frames, _ = await collect(source(cam))
    assert [f.data for f in frames] == PICTURES[:5] + [PICTURES[4]] * 4 + PICTURES[9:]


def test_11_what_has_no_tables_can_be_decoded_after_all() -> None:
    for picture in PICTURES:
        bare = spoil.without_tables(picture)
        assert cv2.imdecode(np.frombuffer(jpegs_of.decodable(bare), np.uint8), cv2.IMREAD_COLOR) is not None
        assert np.array_equal(jpeg_luma(bare), jpeg_luma(picture))


async def test_11_truncated_pictures_are_left_out_and_the_others_come(film: Path) -> None:
    for style in ("dcs920", "plain", "ffmpeg", "bare"):
        async with camera(film, style=style, faults=["truncate@2", "truncate@5+2"]) as cam:
            frames, _ = await collect(source(cam))
        whole = [p for i, p in enumerate(PICTURES) if i not in (2, 5, 6)]
        assert [f.data for f in frames] == whole, style


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("endless-part@2", "a part is longer than 8388608 bytes"),
        ("endless-head@2", "a part's header is longer than 16384 bytes"),
    ],
)
async def test_12_what_never_ends_is_dropped(film: Path, fault: str, text: str) -> None:
    async with camera(film, faults=[fault]) as cam:
        frames, error = await collect(source(cam))
        assert [f.data for f in frames] == PICTURES[:2]
        assert isinstance(error, TransientError) and text in str(error)
        await asyncio.sleep(0)
        assert cam.connections == 1


async def test_12_try_after_try_nothing_of_it_stays_in_memory(film: Path) -> None:
    errors = []
    gc.collect()
    gc.disable()  # which comes by chance, and late where little else happens
    tracemalloc.start()
    try:
        async with camera(film, faults=["endless-part"]) as cam:
            for _ in range(4):
                errors.append((await collect(source(cam)))[1])
            held_bytes, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert peak_bytes > 8 << 20 > 2 * held_bytes and all("longer than" in str(e) for e in errors)


async def test_11_another_size_closes_the_event_and_no_clip_has_two(film: Path) -> None:
    """Each picture moves; the sizes are 64, 320 and 64 wide."""
    sizes: list[set[int]] = []
    closed: list[Closed] = []

    class Keeping(Pipeline):
        def _emit(self, what: Opened | Clip | Closed) -> None:
            if isinstance(what, Clip):
                sizes.append({jpegs_of.inspect(f.data).width for f in what.frames})
            elif isinstance(what, Closed):
                closed.append(what)

    async with camera(film, fps=20) as cam:
        pipeline = Keeping("porch", source(cam), [], analyse=lambda _: Decision(True, 0.5), analyses_per_s=50)
        run = asyncio.create_task(pipeline.run())
        async with asyncio.timeout(60):
            while len(closed) < 2 or pipeline.health.up:
                await asyncio.sleep(0.02)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
    assert all(len(s) == 1 for s in sizes) and {64} in sizes and all(c.why == "source" for c in closed)


def test_all_twelve_classes_are_here() -> None:
    tested = {name.split()[0] for name in WHOLE}
    tested |= {part for test in globals() if test.startswith("test_") for part in test.split("_") if part.isdigit()}
    assert tested == {str(n) for n in range(1, 13)}
