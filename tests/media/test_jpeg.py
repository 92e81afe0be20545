"""JPEG headers and ends, without decoding."""

import cv2
import numpy as np
import pytest

from agent.media import jpeg
from agent.media.spoil import corrupt, read_stamp, resized_header, stamp
from tests.pictures import jpeg as picture


def test_the_header_tells_size_and_kind() -> None:
    info = jpeg.inspect(picture(1, 120, 77))
    assert (info.width, info.height, info.components) == (120, 77, 3)
    assert (info.scans, info.progressive, info.has_huffman) == (1, False, True)


def test_scans_of_a_progressive_picture_are_counted() -> None:
    info = jpeg.inspect(picture(1, flags=[cv2.IMWRITE_JPEG_PROGRESSIVE, 1]))
    assert info.progressive and info.scans > 5


def test_the_end_is_found_behind_a_thumbnail_and_before_junk() -> None:
    inner, data = picture(1), picture(2)
    exif = b"\xff\xe1" + (len(inner) + 2).to_bytes(2, "big") + inner
    whole = data[:2] + exif + data[2:]
    assert jpeg.end_of_image(whole + b"\0\0junk") == len(whole)
    assert jpeg.complete(whole) and not jpeg.complete(whole[:-2])
    assert jpeg.end_of_image(whole[:-1]) is None


def test_the_end_is_the_same_however_the_bytes_come() -> None:
    data = stamp(picture(3), 5) + b"tail"
    walker, found = jpeg.Walker(), None
    for stop in range(2, len(data) + 1):
        if (found := walker.end(data, stop)) is not None:
            break
    assert found == len(data) - 4


@pytest.mark.parametrize("data", [b"", b"\xff", b"GIF89a", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xe0\0\1"])
def test_what_is_no_jpeg_is_refused(data: bytes) -> None:
    with pytest.raises(jpeg.BrokenJpeg):
        jpeg.inspect(data)
    assert not jpeg.complete(data)


def test_a_header_alone_is_no_picture_and_a_byte_behind_it_is_a_cut_one() -> None:
    data = picture(1)
    scan = jpeg.parse(data)[1]
    for bad in (b"", data[: scan - 1], data[:scan], data[:scan] + jpeg.END, data[:scan] + jpeg.END + data):
        with pytest.raises(jpeg.BrokenJpeg):
            jpeg.whole(bad)
    assert not jpeg.whole(data[: scan + 1]) and not jpeg.whole(data[:-2])
    assert jpeg.whole(data) and jpeg.whole(data + b"junk")


def test_an_absurd_size_is_refused_before_any_decoding() -> None:
    for check in (jpeg.gate, jpeg.whole):
        with pytest.raises(jpeg.TooLarge, match="20000x20000"):
            check(resized_header(picture(1), 20000, 20000))
    assert jpeg.gate(picture(1)).width == 64


def test_missing_huffman_tables_are_put_in() -> None:
    data = picture(4)
    bare, at = b"", 2
    while data[at + 1] != 0xDA:
        behind = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        bare += b"" if data[at + 1] == 0xC4 else data[at:behind]
        at = behind
    bare = data[:2] + bare + data[at:]
    assert not jpeg.inspect(bare).has_huffman
    mended = cv2.imdecode(np.frombuffer(jpeg.decodable(bare), np.uint8), cv2.IMREAD_COLOR)
    want = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert mended is not None and want is not None and np.array_equal(mended, want)
    assert jpeg.decodable(data) is data


def test_a_stamp_is_read_back_and_the_picture_stays() -> None:
    data = picture(5)
    stamped = stamp(data, 1_795_420_800_123_456_789)
    assert read_stamp(stamped) == 1_795_420_800_123_456_789
    assert read_stamp(data) is None
    assert jpeg.complete(stamped) and stamped[-100:] == data[-100:]


def test_a_corrupt_picture_has_its_header_and_its_end_and_is_the_same_each_time() -> None:
    data = picture(6)
    broken = corrupt(data, 3)
    assert broken != data and broken == corrupt(data, 3) != corrupt(data, 4)
    assert jpeg.complete(broken) and jpeg.inspect(broken) == jpeg.inspect(data)


def test_a_change_of_size_is_seen_and_nothing_else_is() -> None:
    watch = jpeg.SizeWatch()
    small, small_too, big = picture(1), picture(2), picture(3, 80, 48)
    told = [watch.changed(p) for p in (small, small_too, stamp(small, 5), big, big, b"\xff\xd8\xffjunk", big, small)]
    assert told == [False, False, False, True, False, False, False, True]
    assert watch.size == (64, 48)
