"""H.264 and H.265 access units as bytes: NAL units, keyframes, parameter sets; decodes nothing.

Sources: ITU-T H.264 (7.3.1, 7.3.2.1, Annex B), ITU-T H.265 (7.3.1, 7.3.2, Annex B), ISO/IEC 14496-15 (avcC, hvcC),
RFC 6381 (codec strings).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.frame import Codec
from agent.media.bits import Bits, unescape

START = b"\x00\x00\x00\x01"
_SHORT = b"\x00\x00\x01"
_MAX_SIDE = 16384

# nal_unit_type values
_H264_SLICES, _H264_IDR, _H264_SPS, _H264_PPS = range(1, 6), 5, 7, 8
_H265_SLICES, _H265_IRAP, _H265_VPS, _H265_SPS, _H265_PPS = range(0, 32), range(16, 24), 32, 33, 34
_HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))


def units(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each NAL unit of an Annex B byte stream begins and ends, start codes and trailing zeros left out."""
    at = data.find(_SHORT)
    while at >= 0:
        start = at + 3
        at = data.find(_SHORT, start)
        end = at if at >= 0 else len(data)
        while end > start and data[end - 1] == 0:
            end -= 1
        if end > start:
            yield start, end


def split(data: bytes) -> list[bytes]:
    """The NAL units of an Annex B byte stream."""
    return [data[start:end] for start, end in units(data)]


def to_annexb(sample: bytes, length_size: int = 4) -> bytes:
    """A sample of MP4 or Matroska (each NAL unit behind its length) as Annex B.

    Raises ValueError where a length leads out of the sample.
    """
    parts, at = [], 0
    while at < len(sample):
        size = int.from_bytes(sample[at : at + length_size], "big")
        at += length_size
        if at + size > len(sample):
            raise ValueError(f"a NAL unit of {size} bytes in a sample that has {max(0, len(sample) - at)} left")
        parts += [START, sample[at : at + size]]
        at += size
    return b"".join(parts)


def to_lengths(data: bytes) -> bytes:
    """An Annex B access unit as a sample of MP4: each NAL unit behind its length in 4 bytes."""
    parts = []
    for start, end in units(data):
        parts += [(end - start).to_bytes(4, "big"), data[start:end]]
    return b"".join(parts)


def unit_type(codec: Codec, first_byte: int) -> int:
    return first_byte & 0x1F if codec is Codec.H264 else first_byte >> 1 & 0x3F


def is_keyframe(codec: Codec, data: bytes) -> bool:
    """Whether an Annex B access unit can be decoded without others; looks no further than its first slice."""
    slices = _H264_SLICES if codec is Codec.H264 else _H265_SLICES
    at = data.find(_SHORT)
    while 0 <= at < len(data) - 3:
        kind = unit_type(codec, data[at + 3])
        if kind in slices:
            return kind == _H264_IDR if codec is Codec.H264 else kind in _H265_IRAP
        at = data.find(_SHORT, at + 3)
    return False


@dataclass(frozen=True, slots=True)
class ParameterSets:
    """What a decoder must know before the first keyframe; `vps` is empty for H.264."""

    codec: Codec
    vps: tuple[bytes, ...]
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]

    @property
    def complete(self) -> bool:
        return bool(self.sps and self.pps and (self.vps or self.codec is Codec.H264))

    def annexb(self) -> bytes:
        return b"".join(START + u for u in (*self.vps, *self.sps, *self.pps))

    def size(self) -> tuple[int, int]:
        """Width and height of the picture as it is shown; raises ValueError."""
        if not self.sps:
            raise ValueError("no sequence parameter set")
        return (_h264_size if self.codec is Codec.H264 else _h265_size)(self.sps[0])

    def codec_string(self) -> str:
        """As browsers want to hear it: `avc1.64001f`, `hvc1.1.6.L93.B0`."""
        sps = self.sps[0]
        if self.codec is Codec.H264:
            return f"avc1.{sps[1:4].hex()}"
        return _h265_string(sps)


def parameter_sets(codec: Codec, data: bytes) -> ParameterSets:
    """Those that an Annex B access unit (or a header of such) carries."""
    found: dict[int, list[bytes]] = {}
    slices = _H264_SLICES if codec is Codec.H264 else _H265_SLICES
    for start, end in units(data):
        kind = unit_type(codec, data[start])
        if kind in slices:
            break
        if data[start:end] not in found.setdefault(kind, []):
            found[kind].append(data[start:end])
    kinds = (-1, _H264_SPS, _H264_PPS) if codec is Codec.H264 else (_H265_VPS, _H265_SPS, _H265_PPS)
    vps, sps, pps = (tuple(found.get(k, ())) for k in kinds)
    return ParameterSets(codec, vps, sps, pps)


def from_header(codec: Codec, header: bytes) -> tuple[ParameterSets, int]:
    """Parameter sets of a container's codec header, and the bytes of a NAL unit's length in its samples.

    0 bytes: the samples are Annex B already. The header is an avcC or hvcC box's content, or Annex B itself.
    Raises ValueError where it is none of them.
    """
    if not header or header.startswith((_SHORT, START)):
        return parameter_sets(codec, header), 0
    try:
        return _avcc(header) if codec is Codec.H264 else _hvcc(header)
    except IndexError:
        raise ValueError("the codec's header is cut off") from None


def _avcc(header: bytes) -> tuple[ParameterSets, int]:
    if header[0] != 1:
        raise ValueError("the codec's header is no avcC")
    at, found = 5, []
    for mask in (0x1F, 0xFF):
        count, at = header[at] & mask, at + 1
        sets = []
        for _ in range(count):
            size = header[at] << 8 | header[at + 1]
            sets.append(header[at + 2 : at + 2 + size])
            at += 2 + size
        found.append(tuple(sets))
    return ParameterSets(Codec.H264, (), found[0], found[1]), (header[4] & 3) + 1


def _hvcc(header: bytes) -> tuple[ParameterSets, int]:
    if header[0] != 1:
        raise ValueError("the codec's header is no hvcC")
    sets: dict[int, list[bytes]] = {}
    at = 23
    for _ in range(header[22]):
        kind, count = header[at] & 0x3F, header[at + 1] << 8 | header[at + 2]
        at += 3
        for _ in range(count):
            size = header[at] << 8 | header[at + 1]
            sets.setdefault(kind, []).append(header[at + 2 : at + 2 + size])
            at += 2 + size
    vps, sps, pps = (tuple(sets.get(k, ())) for k in (_H265_VPS, _H265_SPS, _H265_PPS))
    return ParameterSets(Codec.H265, vps, sps, pps), (header[21] & 3) + 1


def _h264_size(sps: bytes) -> tuple[int, int]:
    """7.3.2.1.1 as far as the cropping."""
    bits = Bits(unescape(sps[1:]))
    profile = bits.u(8)
    bits.skip(16)
    bits.ue()
    chroma = 1
    separate = False
    if profile in _HIGH_PROFILES:
        chroma = bits.ue()
        separate = chroma == 3 and bool(bits.u(1))
        bits.ue(), bits.ue()
        bits.skip(1)
        if bits.u(1):
            for i in range(12 if chroma == 3 else 8):
                if bits.u(1):
                    _skip_scaling_list(bits, 16 if i < 6 else 64)
    bits.ue()
    kind = bits.ue()
    if kind == 0:
        bits.ue()
    elif kind == 1:
        bits.skip(1)
        bits.se(), bits.se()
        for _ in range(min(bits.ue(), 255)):
            bits.se()
    bits.ue()
    bits.skip(1)
    columns, rows = bits.ue() + 1, bits.ue() + 1
    frames_only = bits.u(1)
    if not frames_only:
        bits.skip(1)
    bits.skip(1)
    left = right = top = bottom = 0
    if bits.u(1):
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
    flat = chroma == 0 or separate
    x = 1 if flat or chroma == 3 else 2
    y = (1 if flat or chroma != 1 else 2) * (2 - frames_only)
    return _sane(columns * 16 - (left + right) * x, rows * 16 * (2 - frames_only) - (top + bottom) * y)


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se() + 256) % 256
        last = following or last


def _h265_size(sps: bytes) -> tuple[int, int]:
    """H.265, 7.3.2.2.1 as far as the conformance window."""
    bits = Bits(unescape(sps[2:]))
    bits.skip(4)
    layers = bits.u(3)
    bits.skip(1)
    bits.skip(96)
    present = [(bits.u(1), bits.u(1)) for _ in range(layers)]
    if layers:
        bits.skip(2 * (8 - layers))
    for profile, level in present:
        bits.skip(88 * profile + 8 * level)
    bits.ue()
    chroma = bits.ue()
    separate = chroma == 3 and bool(bits.u(1))
    width, height = bits.ue(), bits.ue()
    if bits.u(1):
        x = 2 if chroma in (1, 2) and not separate else 1
        y = 2 if chroma == 1 and not separate else 1
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
        width, height = width - (left + right) * x, height - (top + bottom) * y
    return _sane(width, height)


def _h265_string(sps: bytes) -> str:
    """ISO/IEC 14496-15, Annex E: profile, compatibility (bits reversed), tier and level, constraints."""
    general = unescape(sps[2:])[1:13]
    space = ("", "A", "B", "C")[general[0] >> 6]
    tier = "H" if general[0] & 0x20 else "L"
    compatible = int(f"{int.from_bytes(general[1:5], 'big'):032b}"[::-1], 2)
    constraints = general[5:11].rstrip(b"\0")
    parts = [f"hvc1.{space}{general[0] & 0x1F}", f"{compatible:X}", f"{tier}{general[11]}"]
    return ".".join([*parts, *(f"{b:X}" for b in constraints)])


def _sane(width: int, height: int) -> tuple[int, int]:
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise ValueError(f"a picture of {width}x{height}")
    return width, height
