"""Pictures out of multipart bodies, with all that cameras do to the framing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.media.jpeg import TooLarge
from agent.media.multipart import Splitter
from agent.media.spoil import resized_header, stamp
from tests.pictures import jpeg, jpegs

PICTURES = jpegs(4)


def dlink(picture: bytes, length: int | None = None) -> bytes:
    said = len(picture) if length is None else length
    date = "Date: 01-01-2009 12:00:00 AM IO_00000000_PT_005_000"
    head = f"--video boundary--\r\nContent-length: {said}\r\n{date}\r\nContent-type: image/jpeg\r\n\r\n"
    return head.encode() + picture + b"\r\n\r\n"


def plain(picture: bytes) -> bytes:
    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
    return head.encode() + picture + b"\r\n"


def lengthless(picture: bytes) -> bytes:
    return b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + picture + b"\r\n"


FRAMINGS = {
    "dlink": dlink,
    "plain": plain,
    "lengthless": lengthless,
    "line feeds only": lambda p: b"--b\nContent-type: image/jpeg\nContent-length: %d\n\n" % len(p) + p + b"\n",
    "boundary twice": lambda p: b"--ipcam\r\n--ipcam\r\n" + plain(p)[9:],
    "extra fields": lambda p: b"--b\r\nX-Status: 1\r\nX-Tags: a=1; b=2\r\nX-Flags: 0\r\n" + plain(p)[9:],
    "octets": lambda p: plain(p).replace(b"image/jpeg", b"application/octet-stream"),
    "no header at all": lambda p: p,
    "junk behind": lambda p: lengthless(p) + b"\0\0\0\0",
    "length zero": lambda p: dlink(p, 0),
    "48 bytes short": lambda p: dlink(p, len(p) - 48),
    "1000 bytes more": lambda p: dlink(p, len(p) + 1000),
    "upper case": lambda p: plain(p).replace(b"Content-Length", b"CONTENT-LENGTH"),
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_every_picture_comes_out_as_it_went_in(framing: str, step: int) -> None:
    body = b"".join(FRAMINGS[framing](p) for p in PICTURES) + b"--frame--\r\n"
    splitter, out = Splitter(), []
    for at in range(0, len(body), step):
        out += splitter.feed(body[at : at + step])
    out += splitter.close()
    assert out == PICTURES
    assert splitter.frames == len(PICTURES)


def test_the_first_part_may_come_without_its_boundary() -> None:
    body = b"Content-Type: image/jpeg\r\n\r\n" + PICTURES[0] + b"\r\n" + plain(PICTURES[1])
    assert Splitter().feed(body) == PICTURES[:2]


@settings(max_examples=150)
@given(
    parts=st.lists(st.tuples(st.sampled_from(sorted(FRAMINGS)), st.integers(0, 3)), min_size=1, max_size=8),
    cuts=st.lists(st.integers(1, 5000), min_size=1, max_size=40),
)
def test_pictures_are_the_same_in_any_framing_and_any_cutting(parts: list[tuple[str, int]], cuts: list[int]) -> None:
    body = b"".join(FRAMINGS[f](PICTURES[i]) for f, i in parts) + b"--frame--\r\n"
    splitter, out, at = Splitter(), [], 0
    for i in range(len(body)):
        cut = cuts[i % len(cuts)]
        out += splitter.feed(body[at : at + cut])
        at += cut
        if at >= len(body):
            break
    out += splitter.close()
    assert out == [PICTURES[i] for _, i in parts]


@settings(max_examples=150)
@given(
    noise=st.lists(st.one_of(st.binary(max_size=300), st.sampled_from([b"\r\n\r\n", b"\xff\xd8\xff", b"--frame\r\n"])))
)
def test_noise_never_breaks_it(noise: list[bytes]) -> None:
    splitter = Splitter(max_part_bytes=2000, max_head_bytes=500)
    try:
        for piece in noise:
            splitter.feed(piece)
    except ValueError:
        pass
    assert splitter.buffer_bytes <= 1 << 20


def test_nothing_needs_to_be_done_before_the_missing_bytes_are_there() -> None:
    splitter, part = Splitter(), plain(jpeg(1, 200, 200))
    head = part.index(b"\xff\xd8") + 3
    assert splitter.feed(part[:head]) == []
    assert splitter.missing == len(part) - 2 - head
    assert splitter.feed(part[head:]) == [jpeg(1, 200, 200)]
    assert splitter.missing == 1


def test_a_truncated_picture_is_dropped_and_the_next_one_is_whole() -> None:
    splitter = Splitter()
    cut = dlink(PICTURES[0][:1500], len(PICTURES[0]))
    assert splitter.feed(cut + dlink(PICTURES[1]) + dlink(PICTURES[2])) == PICTURES[1:3]
    assert splitter.bad_parts == 1 and splitter.resyncs >= 1


def test_the_end_of_the_body_ends_a_picture_that_promised_more() -> None:
    splitter = Splitter()
    assert splitter.feed(dlink(PICTURES[0], len(PICTURES[0]) + 1000)) == []
    assert splitter.close() == [PICTURES[0]]
    splitter = Splitter()
    splitter.feed(dlink(PICTURES[0])[:-200])
    assert splitter.close() == [] and splitter.bad_parts == 1


def test_empty_parts_and_other_things_are_counted() -> None:
    splitter = Splitter()
    text = b"--frame\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello\r\n"
    assert splitter.feed(dlink(b"") + text + plain(PICTURES[0])) == [PICTURES[0]]
    assert splitter.bad_parts == 2


def test_a_part_without_end_is_refused() -> None:
    splitter = Splitter(max_part_bytes=100_000)
    splitter.feed(b"--b\r\nContent-Type: image/jpeg\r\n\r\n" + PICTURES[0][:-2])
    with pytest.raises(ValueError, match="longer than 100000"):
        for _ in range(100):
            splitter.feed(b"U" * 4096)
    assert splitter.buffer_bytes <= 1 << 20


def test_a_header_without_end_is_refused() -> None:
    splitter = Splitter()
    with pytest.raises(ValueError, match="longer than 16384"):
        for _ in range(5000):
            splitter.feed(b"X-Padding: 1\r\n")


def test_memory_stays_where_it_is() -> None:
    splitter = Splitter()
    part = dlink(PICTURES[0])
    for _ in range(3000):
        assert splitter.feed(part) == [PICTURES[0]]
    assert splitter.buffer_bytes <= 1 << 19


def test_an_absurd_size_is_refused_also_in_the_middle() -> None:
    splitter = Splitter()
    assert splitter.feed(plain(PICTURES[0])) == [PICTURES[0]]
    with pytest.raises(TooLarge):
        splitter.feed(plain(resized_header(PICTURES[1], 20000, 20000)))


def test_changing_comments_and_sizes_are_fine() -> None:
    pictures = [stamp(jpeg(i, 32 + i, 32), i) for i in range(5)]
    assert Splitter().feed(b"".join(plain(p) for p in pictures)) == pictures


def test_there_is_room_for_what_is_expected_and_it_says_what_has_begun() -> None:
    splitter = Splitter()
    splitter.expect(1_000_000)
    assert len(splitter.room()) >= 1_000_000
    data = plain(PICTURES[0]) + plain(PICTURES[1])
    assert splitter.feed(data[:-1000]) == [PICTURES[0]]
    assert splitter.begun == len(data) - 1000 - data.index(PICTURES[1])
    assert splitter.feed(data[-1000:]) and splitter.begun <= 2
