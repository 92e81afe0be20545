"""The fake camera over a real socket: what it plays, whom it lets in, and each way to misbehave."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.errors import PermanentError, TransientError, UsageError
from agent.frame import Frame
from agent.media import jpeg as jpegs_of
from agent.media.footage import open_footage
from agent.simulate import SimulatedCamera, parse_fault, read_stamp
from agent.sources.mjpeg import MjpegSource
from tests.pictures import avi, collect, jpegs

PICTURES = jpegs(12)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.avi"
    path.write_bytes(avi(PICTURES))
    return path


@asynccontextmanager
async def camera(film: Path, **how: Any) -> AsyncIterator[SimulatedCamera]:
    cam = SimulatedCamera(open_footage(film), **({"fps": 100, "loop": False, "keep": 100} | how))
    await cam.start()
    try:
        yield cam
    finally:
        await cam.close()


async def get(port: int, path: str, login: str = "") -> tuple[str, bytes]:
    """Head and body of one answer, read to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    token = base64.b64encode(login.encode()).decode()
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: x\r\n{f'Authorization: Basic {token}' if login else 'A: b'}\r\n\r\n".encode()
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode(), body


async def play(film: Path, *faults: str, **how: Any) -> tuple[list[bytes], BaseException | None]:
    """What a source makes of a camera with these faults, at most a second without pictures."""
    async with camera(film, faults=faults, **how) as cam:
        source = MjpegSource(f"http://127.0.0.1:{cam.port}/video.cgi", stall_timeout_s=0.4)
        frames, error = await collect(source)
        return [f.data for f in frames], error


def stamps(frames: list[Frame]) -> list[int]:
    times = [read_stamp(f.data) for f in frames]
    assert None not in times
    return [t for t in times if t is not None]


def unstamped(data: bytes) -> bytes:
    """The film's own picture: the stamp is the segment right behind the start of the image."""
    return data[:2] + data[4 + int.from_bytes(data[4:6], "big") :]


@pytest.mark.parametrize("style", ["dcs920", "plain"])
@pytest.mark.parametrize("path", ["/video.cgi", "/video/mjpg.cgi", "/mjpeg.cgi?user=a"])
async def test_the_film_arrives_byte_for_byte(film: Path, style: str, path: str) -> None:
    async with camera(film, style=style) as cam:
        frames, error = await collect(MjpegSource(f"http://127.0.0.1:{cam.port}{path}"))
        assert isinstance(error, TransientError) and "ended the stream after 12 pictures" in str(error)
        assert cam.frames_sent == 12 and cam.connections == 1
    assert [f.index for f in frames] == list(range(12))
    want = [hashlib.sha256(p).hexdigest() for p in PICTURES]
    assert [hashlib.sha256(f.data).hexdigest() for f in frames] == want


async def test_the_framing_is_d_links(film: Path) -> None:
    async with camera(film) as cam:
        head, body = await get(cam.port, "/video.cgi")
    assert "Content-Type: multipart/x-mixed-replace;boundary=--video boundary--" in head
    assert body.startswith(b"--video boundary--\r\nContent-length: %d\r\nDate: " % len(PICTURES[0]))
    assert body.count(b"\r\nContent-type: image/jpeg\r\n\r\n") == 12


async def test_a_looped_film_goes_on_and_everybody_sees_the_same(film: Path) -> None:
    async with camera(film, loop=True, stamp=True) as cam:
        source = MjpegSource(f"http://127.0.0.1:{cam.port}/video.cgi")
        (one, _), (two, _) = await asyncio.gather(collect(source, 100), collect(source, 100))
        assert cam.connections == 2
    assert [unstamped(f.data) for f in one][:24] == PICTURES * 2
    first, last = (pick(stamps(one)[end], stamps(two)[end]) for pick, end in ((max, 0), (min, -1)))
    seen = [[f.data for f, s in zip(v, stamps(v), strict=True) if first <= s <= last] for v in (one, two)]
    assert seen[0] == seen[1] != []


@pytest.mark.parametrize("path", ["/image/jpeg.cgi", "/image.jpg", "/dms?nowprofileid=2"])
async def test_stills(film: Path, path: str) -> None:
    async with camera(film) as cam:
        head, body = await get(cam.port, path)
    assert "200 OK" in head and "image/jpeg" in head and body in PICTURES


async def test_it_asks_for_a_login(film: Path) -> None:
    async with camera(film, username="admin", password="se cret") as cam:
        head, _ = await get(cam.port, "/video.cgi")
        assert "401" in head and 'WWW-Authenticate: Basic realm="' in head
        assert "401" in (await get(cam.port, "/image.jpg", "admin:other"))[0]
        assert "200" in (await get(cam.port, "/image.jpg", "admin:se cret"))[0]


async def test_other_paths_and_methods(film: Path) -> None:
    async with camera(film) as cam:
        assert "404" in (await get(cam.port, "/"))[0]
        reader, writer = await asyncio.open_connection("127.0.0.1", cam.port)
        writer.write(b"POST /video.cgi HTTP/1.0\r\n\r\n")
        assert b"405" in await reader.read()
        writer.close()
        await writer.wait_closed()


async def test_stamps_are_the_time_of_each_picture(film: Path) -> None:
    async with camera(film, stamp=True) as cam:
        frames, _ = await collect(MjpegSource(f"http://127.0.0.1:{cam.port}/video.cgi"))
    times = stamps(frames)
    assert all(0 <= f.wall_ns - s < 5 * 10**9 for s, f in zip(times, frames, strict=True))
    assert times == sorted(times) and len(set(times)) == 12
    assert [unstamped(f.data) for f in frames] == PICTURES


async def test_stall(film: Path) -> None:
    pictures, error = await play(film, "stall@5")
    assert pictures == PICTURES[:5]
    assert isinstance(error, TransientError) and "no picture for 0.4 s" in str(error)


async def test_a_short_stall_is_survived(film: Path) -> None:
    pictures, error = await play(film, "stall=0.1@11")
    assert pictures == PICTURES and "ended the stream" in str(error)


async def test_truncate(film: Path) -> None:
    assert (await play(film, "truncate@3+2"))[0] == PICTURES[:3] + PICTURES[5:]


async def test_drop(film: Path) -> None:
    pictures, error = await play(film, "drop@4")
    assert pictures == PICTURES[:4] and isinstance(error, TransientError)


@pytest.mark.parametrize("fault", ["wrong-length", "wrong-length=48", "wrong-length=-500", "wrong-length=1000000"])
async def test_wrong_length(film: Path, fault: str) -> None:
    assert (await play(film, fault))[0] == PICTURES


async def test_no_length(film: Path) -> None:
    assert (await play(film, "no-length"))[0] == PICTURES


async def test_corrupt(film: Path) -> None:
    pictures, _ = await play(film, "corrupt@2")
    assert len(pictures) == 12
    assert [i for i, (a, b) in enumerate(zip(pictures, PICTURES, strict=True)) if a != b] == [2]
    assert (await play(film, "corrupt@2"))[0] == pictures
    assert jpegs_of.complete(pictures[2])


async def test_401(film: Path) -> None:
    pictures, error = await play(film, "401")
    assert isinstance(error, PermanentError) and error.exit_code == 77 and not pictures


async def test_html(film: Path) -> None:
    pictures, error = await play(film, "html")
    assert isinstance(error, PermanentError) and not pictures
    assert "text/html" in str(error) and "/video.cgi" in str(error)


async def test_slow_skips_pictures_and_keeps_those_that_come_whole(film: Path) -> None:
    pictures, _ = await play(film, "slow=60000", keep=1)
    assert 0 < len(pictures) < 12 and set(pictures) <= set(PICTURES)


async def test_empty_part(film: Path) -> None:
    assert (await play(film, "empty-part@1+3"))[0] == PICTURES[:1] + PICTURES[4:]
    pictures, error = await play(film, "empty-part", loop=True)
    assert not pictures and isinstance(error, TransientError) and "no whole picture" in str(error)


async def test_endless_part(film: Path) -> None:
    pictures, error = await play(film, "endless-part@2")
    assert pictures == PICTURES[:2]
    assert isinstance(error, TransientError) and "longer than 8388608 bytes" in str(error)


async def test_huge_header(film: Path) -> None:
    pictures, error = await play(film, "huge-header")
    assert not pictures and isinstance(error, PermanentError) and "20000x20000" in str(error)
    pictures, error = await play(film, "huge-header@3")
    assert pictures == PICTURES[:3] and isinstance(error, TransientError)


async def test_faults_may_be_several(film: Path) -> None:
    assert (await play(film, "truncate@1", "truncate@3", "no-length@5+7"))[0] == [
        PICTURES[0],
        PICTURES[2],
        *PICTURES[4:],
    ]


async def test_a_reader_that_does_not_read_costs_nothing(film: Path) -> None:
    async with camera(film, loop=True, fps=200) as cam:
        reader, writer = await asyncio.open_connection("127.0.0.1", cam.port, limit=1024)
        writer.write(b"GET /video.cgi HTTP/1.0\r\n\r\n")
        await reader.readline()
        frames, _ = await collect(MjpegSource(f"http://127.0.0.1:{cam.port}/video.cgi"), 40)
        assert len(frames) >= 40 and 1 <= cam.clients <= 2
        writer.transport.abort()


def test_unknown_styles_and_faults_are_refused(film: Path) -> None:
    with pytest.raises(UsageError, match=r"did you mean 'stall'\? .*known: stall"):
        SimulatedCamera(open_footage(film), faults=["stal"])
    with pytest.raises(UsageError, match="dcs920"):
        SimulatedCamera(open_footage(film), style="axis")
    assert parse_fault("drop@3").first == 3


async def test_a_port_that_is_taken(film: Path) -> None:
    async with camera(film) as cam:
        other = SimulatedCamera(open_footage(film))
        with pytest.raises(UsageError, match=f"127.0.0.1:{cam.port}: cannot listen") as caught:
            await other.start(port=cam.port)
        assert caught.value.exit_code == 75
        await other.close()


async def test_closing_leaves_nothing(film: Path) -> None:
    before = asyncio.all_tasks()
    async with camera(film, loop=True, faults=["stall@3"]) as cam:
        run = asyncio.create_task(collect(MjpegSource(f"http://127.0.0.1:{cam.port}/video.cgi"), 3))
        await run
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
