"""One waking for a picture that comes in pieces, and none that hangs for want of bytes."""

from __future__ import annotations

import asyncio
import re

import pytest

from agent.sources.mjpeg import MjpegSource
from agent.sources.rhythm import Rhythm
from tests.pictures import collect, jpegs, raw_server
from tests.sources.test_mjpeg import MULTIPART

PICTURE = jpegs(1)[0]
EVERY_S = 0.1


def part(size: int) -> bytes:
    """A part whose picture has about this many bytes: a comment makes it as long."""
    filler = b"\xff\xfe" + (size - len(PICTURE)).to_bytes(2, "big") + bytes(size - len(PICTURE) - 2)
    picture = PICTURE[:2] + filler + PICTURE[2:] if size > len(PICTURE) + 4 else PICTURE
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture) + picture + b"\r\n"


async def play(sizes: list[int], pieces: int, caplog: pytest.LogCaptureFixture) -> tuple[list[float], int]:
    """When each picture was published, in seconds after it was sent whole, and how often the source woke up."""
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

    caplog.set_level("DEBUG", "agent.sources.pictures")
    async with raw_server(script) as port:
        frames, _ = await collect(MjpegSource(f"http://127.0.0.1:{port}/"), len(sizes))
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


def test_what_comes_in_one_piece_is_not_waited_for() -> None:
    clock = iter(range(1000))
    rhythm = Rhythm(lambda: next(clock) / 10)
    for _ in range(20):
        rhythm.came(40_000, pieces=1)
        assert rhythm.least == 1


def test_now_and_then_it_is_seen_whether_they_still_come_in_pieces() -> None:
    clock = iter(range(1000))
    rhythm = Rhythm(lambda: next(clock) / 10)
    waited = []
    for _ in range(300):
        rhythm.came(40_000, pieces=2 if rhythm.least == 1 else 1)
        waited.append(rhythm.least > 1)
    assert 1 <= waited[20:].count(False) <= 6
    for _ in range(70):
        rhythm.came(40_000, pieces=1)
    assert rhythm.least == 1


def test_of_pictures_that_are_about_as_large_little_is_left_for_a_second_waking() -> None:
    clock = iter(range(1000))
    rhythm = Rhythm(lambda: next(clock) / 10)
    for i in range(60):
        rhythm.came(63_000 + 50 * (-1) ** i, pieces=2 if rhythm.least == 1 else 1)
    assert 63_000 - 50 - 250 < rhythm.least <= 63_000 - 50
