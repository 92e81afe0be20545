"""MJPEG over HTTP against raw servers: what cameras answer, and what each answer means."""

import asyncio
import logging
import re
from pathlib import Path

import pytest

from agent.errors import ConfigError, PermanentError, TransientError, UsageError
from agent.frame import Codec
from agent.sources.http import Url
from agent.sources.mjpeg import MjpegSource
from tests.pictures import Script, always, collect, jpegs, raw_server

PICTURES = jpegs(4)
MULTIPART = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n"


def parts(pictures: list[bytes] = PICTURES) -> bytes:
    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    return b"".join(head % len(p) + p + b"\r\n" for p in pictures)


async def run(script: Script, path: str = "/video.cgi", count: int = 0, **settings: float) -> tuple[list[bytes], str]:
    """What a source publishes, and its error with the address taken out."""
    async with raw_server(script) as port:
        frames, error = await collect(MjpegSource(f"http://127.0.0.1:{port}{path}", **settings), count)
        assert [f.index for f in frames] == list(range(len(frames)))
        text = str(error)
        assert error is None or text.count(f"http://127.0.0.1:{port}/") == 1, text
        return [f.data for f in frames], f"{type(error).__name__}: {text.replace(f'127.0.0.1:{port}', 'cam')}"


STREAMS = {
    "ordinary": MULTIPART + parts(),
    "1.1 with reason": b"HTTP/1.1 200 Very OK\r\nServer: x\r\nContent-Type: multipart/x-mixed-replace\r\n\r\n"
    + parts(),
    "line feeds": MULTIPART.replace(b"\r\n", b"\n") + parts().replace(b"\r\n\r\n", b"\n\n"),
    "no reason": b"HTTP/1.0 200\r\nContent-type:multipart/x-mixed-replace\r\n\r\n" + parts(),
    "odd version": b"ICY 200 OK\r\n\r\n" + parts(),
    "odd lines": MULTIPART[:-2] + b"this line has no colon\r\n: no name\r\n\r\n" + parts(),
    "no type": b"HTTP/1.0 200 OK\r\n\r\n" + parts(),
    "a still's type": b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n\r\n" + parts(),
    "bare pictures": b"HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n" + b"".join(PICTURES),
    "a length of its own": MULTIPART[:-2] + b"Content-Length: 100\r\n\r\n" + parts(),
}


@pytest.mark.parametrize("answer", STREAMS)
async def test_streams_of_all_sorts_give_their_pictures(answer: str) -> None:
    pictures, error = await run(always(STREAMS[answer]))
    assert pictures == PICTURES
    assert error == "TransientError: http://cam/video.cgi: the camera ended the stream after 4 pictures"


@pytest.mark.parametrize("size", [1, 5, 1000, 100_000])
async def test_chunks(size: int) -> None:
    body = parts()
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    chunked = b"".join(b"%x;a=b\r\n" % len(p) + p + b"\r\n" for p in pieces) + b"0\r\n\r\n"
    head = MULTIPART[:-2] + b"Transfer-Encoding: Chunked\r\n\r\n"
    pictures, error = await run(always(head + chunked))
    assert pictures == PICTURES and "ended the stream" in error


async def test_chunks_without_a_size() -> None:
    head = MULTIPART[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
    _, error = await run(always(head + b"z" * 1000))
    assert error == "TransientError: http://cam/video.cgi: a chunk without its size"


async def test_frames_are_stamped_when_they_arrive() -> None:
    async def script(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(MULTIPART + parts(PICTURES[:1]))
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.write(parts(PICTURES[1:2]))

    async with raw_server(script) as port:
        (one, two), _ = await collect(MjpegSource(f"http://127.0.0.1:{port}/"))
    assert two.pts_ns - one.pts_ns >= 0.15e9 and two.wall_ns - one.wall_ns >= 0.15e9
    assert one.codec is Codec.JPEG and one.keyframe


async def test_a_still_is_asked_for_again_and_again() -> None:
    asked = 0

    async def script(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        picture = PICTURES[asked % 4]
        asked += 1
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture) + picture
        )
        await reader.read()  # keeps the connection, whatever was asked

    pictures, _ = await run(script, "/image.jpg", count=6, poll_s=0.02)
    assert pictures[:6] == (PICTURES * 2)[:6]


REFUSALS = {
    "401": (b"HTTP/1.0 401 No\r\nWWW-Authenticate: Basic realm=x\r\n\r\n", "asks for a user and password (401)", 77),
    "403": (b"HTTP/1.0 403 Forbidden\r\n\r\n", "does not allow this (403)", 77),
    "404": (b"HTTP/1.0 404 Not Found\r\n\r\n", "has nothing there (404)", 66),
    "html": (b"HTTP/1.0 200 OK\r\nContent-Type: text/html; charset=x\r\n\r\n<html>", "text/html instead of video", 66),
    "mp4": (b"HTTP/1.0 200 OK\r\nContent-Type: video/mp4\r\n\r\n....", "video/mp4 instead of video", 66),
    "400": (b"HTTP/1.0 400 Bad Request\r\n\r\n", "answers 400 Bad Request", 69),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_refusals_that_somebody_must_mend(name: str) -> None:
    answer, text, code = REFUSALS[name]
    async with raw_server(always(answer)) as port:
        frames, error = await collect(MjpegSource(f"http://127.0.0.1:{port}/video.cgi"))
    assert isinstance(error, PermanentError) and not frames
    assert text in str(error) and error.exit_code == code and f"http://127.0.0.1:{port}/video.cgi: " in str(error)


FAILURES = {
    "503": (b"HTTP/1.0 503 Busy\r\nContent-Type: text/html\r\n\r\n", "answers 503 Busy"),
    "nothing": (b"", "closed the connection without an answer"),
    "half a head": (b"HTTP/1.0 200 OK\r\n", "closed the connection without an answer"),
    "not http": (b"220 ftp server ready\r\n\r\n", "the answer is not HTTP"),
    "a long head": (b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n", "header is longer than 16384 bytes"),
    "no picture": (MULTIPART, "ended without a picture"),
    "bells": (b"HTTP/1.0 500 \x1b[31m\x07\r\n\r\n", "answers 500 ?[31m?"),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_failures_that_may_pass(name: str) -> None:
    answer, text = FAILURES[name]
    pictures, error = await run(always(answer))
    assert not pictures and error.startswith("TransientError: http://cam/video.cgi: ") and text in error


async def test_nobody_there() -> None:
    async with raw_server(always(b"")) as port:
        pass
    _, error = await collect(MjpegSource(f"http://127.0.0.1:{port}/video.cgi"))
    assert isinstance(error, TransientError) and "cannot connect (" in str(error)


async def test_no_answer_at_all() -> None:
    async def script(_: bytes, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await reader.read()

    _, error = await run(script, connect_timeout_s=0.2)
    assert error == "TransientError: http://cam/video.cgi: connected, but no answer within 0.2 s"


async def test_a_stall_in_the_middle_of_a_picture_is_found() -> None:
    async def script(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(MULTIPART + parts()[:-500])
        await reader.read()

    pictures, error = await run(script, stall_timeout_s=0.3)
    assert pictures == PICTURES[:3] and "no picture for 0.3 s" in error


@pytest.mark.parametrize(
    ("every_s", "says"),
    [
        (0.05, r"no picture for 0.3 s \(\d parts came that are no whole"),
        (0.005, "cgi: 30 parts came that are no whole"),
    ],
)
async def test_a_stream_of_nothing_but_noise_is_told_of(every_s: float, says: str) -> None:
    async def script(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(MULTIPART)
        while True:
            writer.write(b"--frame\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi\r\n")
            await writer.drain()
            await asyncio.sleep(every_s)

    _, error = await run(script, stall_timeout_s=0.3)
    assert re.search(says, error)


async def test_redirects_within_the_host() -> None:
    async def script(head: bytes, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"GET /new?x=1 "):
            writer.write(MULTIPART + parts())
        else:
            writer.write(b"HTTP/1.0 302 Found\r\nLocation: /new?x=1\r\n\r\n")

    async with raw_server(script) as port:
        frames, _ = await collect(MjpegSource(f"http://127.0.0.1:{port}/old"))
    assert [f.data for f in frames] == PICTURES


async def test_redirects_elsewhere_and_in_circles_are_refused() -> None:
    _, error = await run(always(b"HTTP/1.0 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n"))
    assert error == "PermanentError: http://cam/video.cgi: redirects to another host (192.0.2.1)"
    _, error = await run(always(b"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:22/\r\n\r\n"))
    assert error == "PermanentError: http://cam/video.cgi: redirects to another port (22)"
    asked = 0

    async def script(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(b"HTTP/1.0 302 Found\r\nLocation: /video.cgi\r\n\r\n")

    _, error = await run(script)
    assert error.startswith("PermanentError") and asked == 4


async def test_basic_credentials_go_with_the_first_request_and_a_401_is_not_hammered() -> None:
    requests = []

    async def script(head: bytes, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(head)
        writer.write(b'HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n')

    async with raw_server(script) as port:
        source = MjpegSource(f"http://ad%40min:se%3Acret@127.0.0.1:{port}/video.cgi")
        _, error = await collect(source)
    assert isinstance(error, PermanentError) and error.exit_code == 77 and "refuses this user or password" in str(error)
    assert len(requests) == 1 and b"Authorization: Basic YWRAbWluOnNlOmNyZXQ=\r\n" in requests[0]


@pytest.mark.parametrize("where", ["url", "field", "file"])
async def test_secrets_stay_secret(where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    canary = "c4n4ry"
    (tmp_path / "password").write_text(canary + "\n")
    async with raw_server(always(b"HTTP/1.0 401 No\r\n\r\n")) as port:
        address = f"127.0.0.1:{port}/video.cgi?user=bob&pwd={canary}&rate=6"
        source = {
            "url": MjpegSource(f"http://bob:{canary}@{address}"),
            "field": MjpegSource(f"http://{address}", "bob", canary),
            "file": MjpegSource(f"http://{address}", "bob", password_file=str(tmp_path / "password")),
        }[where]
        _, error = await collect(source)
    said = f"{error} {error!r} {source} {source!r} {source.label} {caplog.text}"
    assert canary not in said and "rate=6" in source.label


async def test_the_password_file_is_used_and_named_when_it_is_not_there(tmp_path: Path) -> None:
    heads = []

    async def script(head: bytes, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        writer.write(MULTIPART + parts())

    file = tmp_path / "password"
    file.write_text("pw\n")
    async with raw_server(script) as port:
        source = MjpegSource(f"http://127.0.0.1:{port}/", "u", password_file=str(file))
        await collect(source)
        assert b"Authorization: Basic dTpwdw==" in heads[0]
        file.unlink()
        _, error = await collect(source)
    assert isinstance(error, PermanentError) and str(file) in str(error) and error.exit_code == 77


@pytest.mark.parametrize("text", ["http://", "http:///video", "http://h:99999/", "ftp://h/", "http://h/\x00"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        MjpegSource.from_url(text)
    assert caught.value.exit_code == 66
    with pytest.raises(ConfigError, match="url: "):
        MjpegSource(text)


async def test_what_publish_raises_is_a_bug_and_leaves() -> None:
    async with raw_server(always(MULTIPART + parts())) as port:

        def publish(_: object) -> None:
            raise ValueError("a bug")

        with pytest.raises(ValueError, match="a bug"):
            await MjpegSource(f"http://127.0.0.1:{port}/").run(publish)


def test_where_redirects_may_lead() -> None:
    here = Url.parse("http://u:p@cam/a")
    assert here.join("https://cam/b").label == "https://cam/b" and here.join("../c?d").target == "/c?d"
    assert here.join("https://cam/b").password == "p"
    for location in ("https://other/", "http://cam:81/", "//cam.other/x", "ftp://cam/"):
        with pytest.raises(ValueError):
            here.join(location)
    with pytest.raises(ValueError, match="from https to http"):
        here.join("https://cam/b").join("http://cam:443/")
