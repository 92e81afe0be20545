"""JPEGs as bytes: size and scans from the header, where a picture ends, missing Huffman tables; decodes nothing."""

import re
from dataclasses import dataclass

Buffer = bytes | bytearray | memoryview

START = b"\xff\xd8\xff"
END = b"\xff\xd9"
MAX_PIXELS = 40_000_000
MAX_SCANS = 40

# Luma DC, luma AC, chroma DC, chroma AC: class and number, 16 counts, values.
_TABLES = bytes.fromhex(
    "0000010501010101010100000000000000000102030405060708090a0b"
    "100002010303020403050504040000017d01020300041105122131410613516107227114328191a1082342b1c11552d1"
    "f02433627282090a161718191a25262728292a3435363738393a434445464748494a535455565758595a636465666768"
    "696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4"
    "c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa"
    "0100030101010101010101010000000000000102030405060708090a0b"
    "1100020102040403040705040400010277000102031104052131061241510761711322328108144291a1b1c109233352"
    "f0156272d10a162434e125f11718191a262728292a35363738393a434445464748494a535455565758595a6364656667"
    "68696a737475767778797a82838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2"
    "c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa"
)
STANDARD_TABLES = b"\xff\xc4" + (len(_TABLES) + 2).to_bytes(2, "big") + _TABLES

# FF 00 is a coded FF and FF D0..D7 are restarts: neither ends coded data (ITU-T T.81, B.1.1.2 and B.2.1).
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_TEM, _SOI, _EOI, _SOS, _DHT = 0x01, 0xD8, 0xD9, 0xDA, 0xC4
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))


class BrokenJpeg(ValueError):
    """The bytes are not a JPEG; `at` is the offset of the first byte that cannot belong to it."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(f"{message} at byte {at}")
        self.at = at


class TooLarge(ValueError):
    """The header promises more pixels or scans than anything here will decode."""


@dataclass(frozen=True, slots=True)
class JpegInfo:
    """What the header says; `scans` counts the scans of a progressive or split picture, else 1."""

    width: int
    height: int
    components: int
    scans: int
    progressive: bool
    has_huffman: bool


class Walker:
    """Finds the end of a JPEG that arrives in pieces, segment by segment; each byte is looked at once."""

    __slots__ = ("at", "scans")

    def __init__(self, start: int = 0) -> None:
        self.at = start + 2
        self.scans = 0

    def end(self, data: Buffer, stop: int | None = None) -> int | None:
        """The offset behind the EOI marker, None while it is not in `data[:stop]`; raises BrokenJpeg."""
        limit = len(data) if stop is None else stop
        while m := _MARKER.search(data, self.at, limit):
            at, code = m.start(), data[m.start() + 1]
            if code == _EOI:
                return at + 2
            if code == _SOI:
                raise BrokenJpeg("a JPEG begins inside another", at)
            if code == _TEM:
                self.at = at + 2
                continue
            self.at = at
            behind = _segment_end(data, at, limit)
            if behind is None:
                return None
            self.scans += code == _SOS
            self.at = behind
        self.at = max(self.at, limit - 1)
        return None


def _segment_end(data: Buffer, at: int, limit: int) -> int | None:
    if at + 4 > limit:
        return None
    length = data[at + 2] << 8 | data[at + 3]
    if length < 2:
        raise BrokenJpeg(f"segment of {length} bytes", at)
    return at + 2 + length if at + 2 + length <= limit else None


def end_of_image(data: Buffer, start: int = 0) -> int | None:
    """The offset behind the JPEG that begins at `start`, None when it is cut off; raises BrokenJpeg.

    Walks the segments: the two bytes of an EOI also stand in EXIF thumbnails and comments.
    """
    if bytes(data[start : start + 2]) != START[:2]:
        raise BrokenJpeg("no JPEG", start)
    return Walker(start).end(data)


def complete(data: Buffer) -> bool:
    """Whether `data` is a whole JPEG (bytes behind its end allowed)."""
    try:
        return _ends(data, parse(data)[1])
    except ValueError:
        return False


def whole(data: Buffer) -> bool:
    """`gate` and `complete` at the price of one look at the header; raises ValueError (TooLarge, BrokenJpeg).

    A picture of which not one coded byte came is BrokenJpeg: there is nothing to show.
    """
    info, scan = parse(data)
    check_size(info)
    if scan == len(data) or bytes(data[scan : scan + 2]) == END:
        raise BrokenJpeg("no picture behind the JPEG header", scan)
    return _ends(data, scan)


def _ends(data: Buffer, scan: int) -> bool:
    """Whether it has its end, behind the coded bytes that begin at `scan`."""
    if scan < len(data) - 2 and bytes(data[-2:]) == END:
        return True
    try:
        return end_of_image(data) is not None
    except ValueError:
        return False


def parse(data: Buffer, start: int = 0) -> tuple[JpegInfo, int]:
    """The header's facts and the offset of the first coded byte; raises BrokenJpeg.

    The coded data are walked only where the number of scans cannot be told from the header.
    """
    if bytes(data[start : start + 2]) != START[:2]:
        raise BrokenJpeg("no JPEG", start)
    frame, tables, at = -1, False, start + 2
    while m := _MARKER.search(data, at):
        at, code = m.start(), data[m.start() + 1]
        behind = _segment_end(data, at, len(data)) if code not in (_SOI, _EOI) else None
        if behind is None:
            break
        if code in _FRAMES and frame < 0:
            frame = at
        tables = tables or code == _DHT
        if code == _SOS and frame >= 0 and behind >= at + 5:
            return _facts(data, frame, at, tables, start), behind
        at = behind
    raise BrokenJpeg("no JPEG header", at)


def _facts(data: Buffer, frame: int, scan: int, tables: bool, start: int) -> JpegInfo:
    if _segment_end(data, frame, len(data)) < frame + 10:  # type: ignore[operator]
        raise BrokenJpeg("short frame header", frame)
    height, width = data[frame + 5] << 8 | data[frame + 6], data[frame + 7] << 8 | data[frame + 8]
    components, progressive = data[frame + 9], data[frame + 1] in _PROGRESSIVE
    if not (width and height and components):
        raise BrokenJpeg(f"picture of {width}x{height} with {components} components", frame)
    scans = 1
    if progressive or data[scan + 4] != components:
        walker = Walker(start)
        walker.end(data)
        scans = walker.scans
    return JpegInfo(width, height, components, scans, progressive, tables)


def inspect(data: Buffer) -> JpegInfo:
    """Size, components and scans without decoding; raises ValueError for what is not a JPEG."""
    return parse(data)[0]


def check_size(info: JpegInfo) -> None:
    """Raises TooLarge, naming the numbers, above 40 megapixels or 40 scans."""
    if info.width * info.height > MAX_PIXELS:
        raise TooLarge(f"picture of {info.width}x{info.height}, at most {MAX_PIXELS // 1_000_000} megapixels")
    if info.scans > MAX_SCANS:
        raise TooLarge(f"picture of {info.width}x{info.height} in {info.scans} scans, at most {MAX_SCANS}")


class SizeWatch:
    """Sees that a camera's pictures change their size; looks at a few bytes where the last header had them."""

    __slots__ = ("_at", "_frame", "size")

    def __init__(self) -> None:
        self._at = 0
        self._frame = b""
        self.size: tuple[int, int] | None = None

    def changed(self, data: bytes) -> bool:
        """Whether this picture's size is another than the last one's; the first one's is no change."""
        if self._frame and data[self._at : self._at + 9] == self._frame:
            return False
        try:
            self._at, before = frame_header(data), self.size
        except BrokenJpeg:
            return False
        self._frame = data[self._at : self._at + 9]
        self.size = int.from_bytes(self._frame[7:9], "big"), int.from_bytes(self._frame[5:7], "big")
        return before is not None and before != self.size


def frame_header(data: Buffer) -> int:
    """The offset of the frame header's marker (SOF); raises BrokenJpeg."""
    at = 2
    while m := _MARKER.search(data, at):
        at, code = m.start(), data[m.start() + 1]
        if code in _FRAMES:
            return at
        behind = _segment_end(data, at, len(data)) if code not in (_SOI, _EOI, _SOS) else None
        if behind is None:
            break
        at = behind
    raise BrokenJpeg("no JPEG header", at)


def gate(data: Buffer) -> JpegInfo:
    """To be passed before decoding what a stranger sent; raises ValueError (TooLarge, BrokenJpeg)."""
    info = inspect(data)
    check_size(info)
    return info


def decodable(data: bytes) -> bytes:
    """The same picture with the standard Huffman tables put in where it has none (MJPEG of webcams and AVI).

    Returns `data` itself when nothing is missing; raises BrokenJpeg. The tables are those of ITU-T T.81, K.3.
    """
    return _with_tables(data, *parse(data))


def admit(data: bytes) -> tuple[JpegInfo, bytes]:
    """`gate` and `decodable` at the price of one look at the header; raises ValueError (TooLarge, BrokenJpeg)."""
    info, behind = parse(data)
    check_size(info)
    return info, _with_tables(data, info, behind)


def _with_tables(data: bytes, info: JpegInfo, behind: int) -> bytes:
    if info.has_huffman:
        return data
    scan = data.rindex(b"\xff\xda", 0, behind)
    return data[:scan] + STANDARD_TABLES + data[scan:]


def derived(data: bytes, codec: str) -> bytes:
    """The JPEG with a comment that says that it was made from another `codec`, and is not the camera's own bytes."""
    comment = f"camera-agent: derived from {codec}, not the camera's own bytes".encode()
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]
