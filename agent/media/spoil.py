"""Changes a simulated camera makes to its JPEGs: a time in a comment, broken data, odd and missing segments."""

import random

from agent.media import jpeg

_COMMENT = b"\xff\xfe"
_CORRUPT_BYTES = 400


def stamp(data: bytes, wall_ns: int) -> bytes:
    """The JPEG with `wall_ns` (decimal digits) as a comment segment right behind its SOI."""
    text = str(wall_ns).encode()
    return data[:2] + _COMMENT + (len(text) + 2).to_bytes(2, "big") + text + data[2:]


def read_stamp(data: bytes) -> int | None:
    """The time that `stamp` put in, in nanoseconds since 1970-01-01 UTC; None where there is none."""
    if data[2:4] != _COMMENT:
        return None
    text = data[6 : 4 + int.from_bytes(data[4:6], "big")]
    return int(text) if text.isdigit() else None


def corrupt(data: bytes, seed: int) -> bytes:
    """The JPEG with up to 400 bytes of its coded data overwritten; header and end stay, the same for a seed."""
    begin = jpeg.parse(data)[1]
    room = max(len(data) - 2 - begin, 0)
    count = min(_CORRUPT_BYTES, room)
    at = begin + (room - count) // 2
    # No byte of 0xFF: the picture stays one JPEG for whoever looks for markers.
    dice = random.Random(seed)
    noise = bytes(dice.randrange(0xFF) for _ in range(count))
    return data[:at] + noise + data[at + count :]


def resized_header(data: bytes, width: int, height: int) -> bytes:
    """The JPEG whose frame header promises `width` × `height`."""
    at = 2
    while at + 9 <= len(data):
        code = data[at + 1]
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
            return data[: at + 5] + size + data[at + 9 :]
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data


_THUMBNAIL = b"Exif\0\0" + b"\xff\xd8\xff\xdb\0\x04\0\0\xff\xda\0\x04\0\0thumb\xff\xd9" + b"\xff\xd8\xff\xd9 tail"
_ODD = (0xFFE4, b"\0\0odd\xff\xd9"), (0xFFEF, b""), (0xFFE0, b"AVI1\0" + bytes(8))


def _segment(marker: int, data: bytes) -> bytes:
    return marker.to_bytes(2, "big") + (len(data) + 2).to_bytes(2, "big") + data


def with_thumbnail(data: bytes) -> bytes:
    """The JPEG with an APP1 segment in which whole small JPEGs stand."""
    return data[:2] + _segment(0xFFE1, _THUMBNAIL) + data[2:]


def with_odd_segments(data: bytes) -> bytes:
    """The JPEG with application segments of no meaning, one of them empty."""
    return data[:2] + b"".join(_segment(*s) for s in _ODD) + data[2:]


def without_tables(data: bytes) -> bytes:
    """The JPEG without its Huffman tables, as webcams and AVI have it."""
    out, at = bytearray(data[:2]), 2
    while at + 4 <= len(data) and data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] != 0xC4:
            out += data[at:end]
        at = end
    return bytes(out) + data[at:]
