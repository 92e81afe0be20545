"""One waking for a picture that comes in pieces, and none that hangs for want of bytes."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.frame import Frame
from agent.media.multipart import Splitter
from agent.sources import Publish
from agent.sources.bodies import Pictures
from agent.sources.mjpeg import MjpegSource
from agent.sources.rhythm import Rhythm
from tests.pictures import collect, jpegs, raw_server
from tests.sinks.ftpservers import certificate
from tests.sources.test_mjpeg import MULTIPART

PICTURE = jpegs(1)[0]
EVERY_S = 0.1
MS = 1_000_000
START_NS = 3_600_000 * MS
NEVER_NS = 1 << 62
BOUNDARY = b"--frame\r\n"


def part(size: int) -> bytes:
    """A part whose picture has about this many bytes: a comment makes it as long."""
    filler = b"\xff\xfe" + (size - len(PICTURE)).to_bytes(2, "big") + bytes(size - len(PICTURE) - 2)
    picture = PICTURE[:2] + filler + PICTURE[2:] if size > len(PICTURE) + 4 else PICTURE
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture) + picture + b"\r\n"


async def play(
    sizes: list[int],
    pieces: int,
    caplog: pytest.LogCaptureFixture,
    until: Publish = lambda frame: None,
    stall_timeout_s: float = 10.0,
    tls: ssl.SSLContext | None = None,
) -> tuple[list[float], int]:
    """The time of each picture, in seconds after it was sent whole, and how often the source woke up.

    `until`: what the source is told of each, until when nobody wants another.
    """
    sent: list[float] = []

    async def script(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        now = asyncio.get_running_loop().time
        writer.write(MULTIPART)
        begin = now()
        for i, size in enumerate(sizes):
            await asyncio.sleep(begin + i * EVERY_S - now())
            data = part(size)
            for k in range(pieces):
                writer.write(data[k * len(data) // pieces : (k + 1) * len(data) // pieces])
                await asyncio.sleep(0.002 if k < pieces - 1 else 0)
            sent.append(now())
        await asyncio.sleep(30)

    def source(port: int) -> MjpegSource:
        return MjpegSource(f"http{'s' * bool(tls)}://127.0.0.1:{port}/", stall_timeout_s=stall_timeout_s)

    caplog.set_level("DEBUG", "agent.sources.pictures")
    async with raw_server(script, tls) as port:
        frames, _ = await collect(source(port), len(sizes), until=until)
    found = re.search(r"(\d+) wake-ups", caplog.text)
    assert found
    return [f.pts_ns / 1e9 - s for f, s in zip(frames, sent, strict=True)], int(found[1])


async def test_pictures_that_come_in_pieces_wake_once(caplog: pytest.LogCaptureFixture) -> None:
    late, wakeups = await play([40_000 + i % 5 * 100 for i in range(30)], 6, caplog)
    assert wakeups < 1.6 * 30, "twice is what it takes without knowing how large the next one is"
    assert sorted(late)[15] < 0.02


async def test_a_picture_that_is_suddenly_small_does_not_wait_for_the_next(caplog: pytest.LogCaptureFixture) -> None:
    late, _ = await play([40_000] * 12 + [5_000], 6, caplog)
    assert late[-1] < EVERY_S, "nothing comes after it"


async def test_sizes_that_jump_are_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    late, _ = await play([10_000, 40_000] * 12, 6, caplog)
    assert sorted(late[6:])[-3] < 0.02


def steady(rhythm: Rhythm, count: int, size: int = 40_000, pieces: int = 1, until_ms: int = 0) -> None:
    """So many pictures at ten a second, one by one; nobody wants the next for `until_ms`."""
    for _ in range(count):
        now_ns = rhythm.last_ns + 100 * MS
        rhythm.came(now_ns, 1, size, pieces if rhythm.least == 1 else 1)
        rhythm.wait(now_ns, now_ns + until_ms * MS)


def test_what_comes_in_one_piece_is_not_waited_for() -> None:
    rhythm = Rhythm()
    for _ in range(20):
        steady(rhythm, 1)
        assert rhythm.least == 1


def test_now_and_then_it_is_seen_whether_they_still_come_in_pieces() -> None:
    rhythm = Rhythm()
    waited = []
    for _ in range(300):
        steady(rhythm, 1, pieces=2)
        waited.append(rhythm.least > 1)
    assert 1 <= waited[20:].count(False) <= 6
    steady(rhythm, 70)
    assert rhythm.least == 1


def test_of_pictures_that_are_about_as_large_little_is_left_for_a_second_waking() -> None:
    rhythm = Rhythm()
    for i in range(60):
        steady(rhythm, 1, 63_000 + 50 * (-1) ** i, pieces=2)
    assert 63_000 - 50 - 250 < rhythm.least <= 63_000 - 50


def test_pictures_that_nobody_wants_are_waited_for_together_and_came_one_after_the_other() -> None:
    rhythm = Rhythm()
    steady(rhythm, 30)
    begin_ns = rhythm.last_ns
    rhythm.wait(rhythm.last_ns, begin_ns + 390 * MS)
    assert 3 * 40_000 < rhythm.least <= 4 * 40_000
    assert 0.4 < rhythm.patience_s <= 0.5
    assert rhythm.came(begin_ns + 404 * MS, 4, 160_000, 1) == [begin_ns + i * 101 * MS for i in (1, 2, 3, 4)]


def test_when_the_next_has_begun_the_last_did_not_come_only_now() -> None:
    rhythm = Rhythm()
    steady(rhythm, 30)
    begin_ns = rhythm.last_ns
    rhythm.wait(rhythm.last_ns, begin_ns + 190 * MS)
    assert rhythm.came(begin_ns + 198 * MS, 1, 40_000, 1, begun=True) == [begin_ns + 99 * MS]
    rhythm.wait(rhythm.last_ns, begin_ns + 190 * MS)
    assert rhythm.came(begin_ns + 200 * MS, 1, 40_000, 1) == [begin_ns + 200 * MS]


def test_what_came_before_a_wait_was_over_came_when_it_was_due() -> None:
    rhythm = Rhythm()
    steady(rhythm, 30)
    begin_ns = rhythm.last_ns
    rhythm.wait(rhythm.last_ns, begin_ns + 390 * MS)
    assert rhythm.came(begin_ns + 450 * MS, 1, 40_000, 1) == [begin_ns + 100 * MS]


def test_those_that_come_together_by_themselves_are_not_waited_for_together() -> None:
    rhythm = Rhythm()
    steady(rhythm, 10)
    for _ in range(4):
        now_ns = rhythm.last_ns + 1000 * MS
        assert rhythm.came(now_ns, 10, 400_000, 1) == [now_ns] * 10 or rhythm.last_ns == now_ns
        rhythm.wait(now_ns, now_ns + 390 * MS)
        assert rhythm.least == 1 and rhythm.patience_s == 0


def test_a_wait_that_begins_late_ends_in_time() -> None:
    rhythm = Rhythm()
    steady(rhythm, 30)
    rhythm.wait(rhythm.last_ns + 60 * MS, rhythm.last_ns + 390 * MS)
    assert 0.3 < rhythm.patience_s <= 0.4


@pytest.mark.parametrize("count", [2, 8])
def test_those_that_come_at_one_moment_tell_nothing_of_their_rhythm(count: int) -> None:
    rhythm = Rhythm()
    for now_ns in (START_NS, START_NS, START_NS):
        rhythm.came(now_ns, count, count * 40_000, 1)
        rhythm.wait(now_ns, now_ns + 390 * MS)
        assert rhythm.least == 1


def test_however_long_nobody_wants_one_little_is_left_in_the_kernel() -> None:
    rhythm = Rhythm()
    steady(rhythm, 10)
    rhythm.wait(rhythm.last_ns, rhythm.last_ns + 60_000 * MS)
    assert rhythm.least <= 5 * 40_000
    rhythm = Rhythm()
    steady(rhythm, 10, 600_000)
    rhythm.wait(rhythm.last_ns, rhythm.last_ns + 390 * MS)
    assert rhythm.least <= 600_000


def received(arrivals_ms: list[float], unwanted_ms: float = 400, size: int = 40_000) -> list[float]:
    """The times of such pictures, from a kernel that wakes us as it was told; nobody wants the next one for so long."""
    rhythm, times = Rhythm(), list[int]()
    waiting, over_ns = 0, NEVER_NS

    def wake(now_ns: int) -> None:
        nonlocal waiting, over_ns
        times.extend(rhythm.came(now_ns, waiting, waiting * size, 1))
        rhythm.wait(now_ns, times[-1] + round(unwanted_ms * MS))
        waiting, over_ns = 0, now_ns + round(rhythm.patience_s * 1e9) if rhythm.patience_s else NEVER_NS

    for arrives_ns in [START_NS + round(ms * MS) for ms in arrivals_ms]:
        if waiting and over_ns < arrives_ns:
            wake(over_ns)
        waiting += 1
        if waiting * size >= rhythm.least or over_ns < arrives_ns:
            wake(arrives_ns)
    if waiting:
        wake(over_ns)
    return [(ns - START_NS) / MS for ns in times]


def off(arrivals_ms: list[float], unwanted_ms: float = 400) -> list[float]:
    """How much too late each one's time is, in ms."""
    return [t - a for t, a in zip(received(arrivals_ms, unwanted_ms), arrivals_ms, strict=True)]


def every(gap_ms: float, count: int, after_ms: float = 0.0) -> list[float]:
    return [after_ms + gap_ms * i for i in range(1, count + 1)]


@pytest.mark.parametrize("gap_ms", [100, 200, 1000])
def test_the_times_of_a_camera_that_becomes_slower_do_not_fall_behind(gap_ms: float) -> None:
    found = off(every(33, 90) + every(gap_ms, 100, 90 * 33))
    assert min(found) > -600 and max(map(abs, found[-60:])) < 20


def test_the_first_picture_after_a_pause_came_when_it_came() -> None:
    found = off(every(100, 50) + every(100, 50, 15_000))
    assert max(map(abs, found)) < 60 and abs(found[50]) < 1


def test_a_camera_that_begins_with_a_burst_has_no_other_rhythm_for_that() -> None:
    found = off([i / 10 for i in range(8)] + every(100, 100))
    assert max(map(abs, found[-60:])) < 20


@given(st.lists(st.integers(0, 1000) | st.integers(90, 110) | st.just(100), min_size=1, max_size=120))
def test_no_guess_is_far_from_when_a_picture_came(gaps_ms: list[int]) -> None:
    arrivals: list[float] = list(accumulate(gaps_ms))
    times = received(arrivals)
    assert times == sorted(times)
    found = off(arrivals)
    assert min(found) > -700 and max(found) < 700


def test_a_boundary_behind_a_picture_is_not_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns, times = START_NS, list[int]()
    monkeypatch.setattr("agent.sources.bodies.time.monotonic_ns", lambda: now_ns)

    def take(_: list[bytes], came: list[int]) -> int:
        times.extend(came)
        return came[-1] + 400 * MS

    pictures = Pictures(Splitter(), take)
    data, waiting = part(40_000)[len(BOUNDARY) :] + BOUNDARY, BOUNDARY
    want = 1
    for _ in range(40):
        now_ns += 100 * MS
        waiting += data
        if len(waiting) >= want:
            pictures.room()[: len(waiting)] = waiting
            want, waiting = pictures.take(len(waiting)), b""
    assert [(ns - START_NS) % (100 * MS) for ns in times] == [0] * len(times) and len(times) > 30


async def test_over_tls_each_is_received_as_it_comes(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    late, _ = await play([40_000] * 40, 1, caplog, lambda frame: frame.pts_ns + 400 * MS, tls=context)
    assert sorted(map(abs, late))[36] < 0.02


async def test_what_nobody_wants_stays_in_the_kernel(caplog: pytest.LogCaptureFixture) -> None:
    def later(frame: Frame) -> int:
        return (frame.pts_ns // (400 * MS) + 1) * 400 * MS

    late, wakeups = await play([40_000 + i % 5 * 100 for i in range(40)], 6, caplog, later)
    assert wakeups < 0.8 * 40
    assert sorted(abs(s) for s in late)[32] < 0.02, "the times are those of arrival all the same"


async def test_one_that_nobody_wants_is_seen_soon_also_when_nothing_follows(caplog: pytest.LogCaptureFixture) -> None:
    begin_s = time.monotonic()
    await play([40_000] * 12, 1, caplog, lambda frame: frame.pts_ns + 380 * MS)
    assert time.monotonic() - begin_s < 12 * EVERY_S + 1.0


async def test_a_source_that_keeps_some_back_is_not_taken_for_silent(caplog: pytest.LogCaptureFixture) -> None:
    late, _ = await play([40_000] * 30, 1, caplog, lambda frame: frame.pts_ns + 450 * MS, stall_timeout_s=0.4)
    assert len(late) == 30
