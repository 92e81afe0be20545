"""Fragmented MP4 of H.264 and H.265 as the camera coded it: boxes around the samples, nothing coded anew.

Sources: ISO/IEC 14496-12 (boxes; clause numbers below), ISO/IEC 14496-15 (avcC, hvcC), W3C ISO BMFF Byte Stream Format.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from agent.frame import Codec
from agent.media.bits import unescape
from agent.media.h264 import ParameterSets

TIMESCALE = 90_000
TRACK = 1
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_KEY_FLAGS = 0x02000000  # depends on no other sample
_LEANING_FLAGS = 0x01010000  # depends on others, is no sync sample
_HEADS_BYTES = 8 + 16 + 8 + 16 + 20 + 20  # moof, mfhd, traf, tfhd, tfdt, trun without its samples
_PER_SAMPLE = 16


@dataclass(frozen=True, slots=True)
class Sample:
    """One access unit: its size as a sample, how long it is shown, and how much later than decoded; in ticks."""

    size: int
    duration: int
    offset: int
    keyframe: bool


@dataclass(frozen=True, slots=True)
class Reference:
    """A row of the segment index: a fragment's bytes, its ticks, and whether it begins with a keyframe."""

    size: int
    duration: int
    keyframe: bool


def ticks(ns: int) -> int:
    """Nanoseconds as ticks of the time scale, rounded."""
    return (ns * TIMESCALE + 500_000_000) // 1_000_000_000


def media_type(sets: ParameterSets) -> str:
    """What a browser's MediaSource is opened with."""
    return f'video/mp4; codecs="{sets.codec_string()}"'


def init_segment(sets: ParameterSets, duration: int = 0) -> bytes:
    """ftyp and moov; `duration` in ticks where it is known. Raises ValueError for unusable parameter sets."""
    if not sets.complete:
        raise ValueError("the parameter sets are not complete")
    width, height = sets.size()
    entry = _avc1(sets, width, height) if sets.codec is Codec.H264 else _hvc1(sets, width, height)
    tables = b"".join(
        _full(name, 0, 0, bytes(n)) for name, n in ((b"stts", 4), (b"stsc", 4), (b"stsz", 8), (b"stco", 4))
    )
    stbl = _box(b"stbl", _full(b"stsd", 0, 0, _u32(1) + entry) + tables)
    dinf = _box(b"dinf", _full(b"dref", 0, 0, _u32(1) + _full(b"url ", 0, 1, b"")))
    minf = _box(b"minf", _full(b"vmhd", 0, 1, bytes(8)) + dinf + stbl)
    hdlr = _full(b"hdlr", 0, 0, bytes(4) + b"vide" + bytes(12) + b"camera\0")
    mdhd = _full(b"mdhd", 0, 0, struct.pack(">IIIIHH", 0, 0, TIMESCALE, 0, 0x55C4, 0))
    tkhd = _full(
        b"tkhd",
        0,
        3,
        struct.pack(">IIIII", 0, 0, TRACK, 0, 0)
        + bytes(8 + 8)
        + _MATRIX
        + struct.pack(">II", width << 16, height << 16),
    )
    trak = _box(b"trak", tkhd + _box(b"mdia", mdhd + hdlr + minf))
    mvhd = _full(
        b"mvhd",
        0,
        0,
        struct.pack(">IIIIIH", 0, 0, TIMESCALE, 0, 0x10000, 0x100) + bytes(10) + _MATRIX + bytes(24) + _u32(TRACK + 1),
    )
    mehd = _full(b"mehd", 1, 0, struct.pack(">Q", duration)) if duration else b""
    trex = _full(b"trex", 0, 0, struct.pack(">IIIII", TRACK, 1, 0, 0, 0))
    ftyp = _box(b"ftyp", b"iso6" + _u32(0) + b"iso6mp41" + (b"dash" if duration else b""))
    return ftyp + _box(b"moov", mvhd + trak + _box(b"mvex", mehd + trex))


def fragment_head(number: int, base: int, samples: list[Sample]) -> bytes:
    """moof, and mdat's head; the samples' bytes come behind it. `number` 1, 2, 3…; `base`: ticks of the first."""
    size = _HEADS_BYTES + _PER_SAMPLE * len(samples)
    rows = b"".join(
        struct.pack(">IIIi", s.duration, s.size, _KEY_FLAGS if s.keyframe else _LEANING_FLAGS, s.offset)
        for s in samples
    )
    trun = _full(b"trun", 1, 0x000F01, struct.pack(">Ii", len(samples), size + 8) + rows)
    tfhd = _full(b"tfhd", 0, 0x020000, _u32(TRACK))
    tfdt = _full(b"tfdt", 1, 0, struct.pack(">Q", base))
    moof = _box(b"moof", _full(b"mfhd", 0, 0, _u32(number)) + _box(b"traf", tfhd + tfdt + trun))
    assert len(moof) == size
    return moof + _u32(8 + sum(s.size for s in samples)) + b"mdat"


def fragment_size(samples: list[Sample]) -> int:
    """Bytes of the whole fragment."""
    return _HEADS_BYTES + _PER_SAMPLE * len(samples) + 8 + sum(s.size for s in samples)


def segment_index(references: list[Reference]) -> bytes:
    """sidx (8.16.3), directly before the first fragment, so that players seek without reading all."""
    head = struct.pack(">IIQQHH", TRACK, TIMESCALE, 0, 0, 0, len(references))
    rows = b"".join(
        struct.pack(">III", r.size, r.duration, 0x90000000 if r.keyframe else 0) for r in references[:65535]
    )
    return _full(b"sidx", 1, 0, head + rows)


def _visual(name: bytes, width: int, height: int, config: bytes) -> bytes:
    """VisualSampleEntry (12.1.3)."""
    head = bytes(6) + struct.pack(">HHH", 1, 0, 0) + bytes(12) + struct.pack(">HH", width, height)
    return _box(name, head + struct.pack(">IIIH", 0x480000, 0x480000, 0, 1) + bytes(32) + b"\x00\x18\xff\xff" + config)


def _avc1(sets: ParameterSets, width: int, height: int) -> bytes:
    sps = sets.sps[0]
    config = b"\x01" + sps[1:4] + b"\xff" + bytes([0xE0 | len(sets.sps)]) + _prefixed(sets.sps)
    config += bytes([len(sets.pps)]) + _prefixed(sets.pps)
    return _visual(b"avc1", width, height, _box(b"avcC", config))


def _hvc1(sets: ParameterSets, width: int, height: int) -> bytes:
    """The chroma format and depths in hvcC are those of 4:2:0 with 8 bits; decoders read the real ones in the SPS."""
    general = unescape(sets.sps[0][2:])[1:13]
    config = b"\x01" + general + b"\xf0\x00\xfc\xfd\xf8\xf8\x00\x00\x0f\x03"
    for kind, units in ((32, sets.vps), (33, sets.sps), (34, sets.pps)):
        config += bytes([0x80 | kind]) + struct.pack(">H", len(units)) + _prefixed(units)
    return _visual(b"hvc1", width, height, _box(b"hvcC", config))


def _prefixed(units: tuple[bytes, ...]) -> bytes:
    return b"".join(struct.pack(">H", len(u)) + u for u in units)


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _box(name: bytes, body: bytes) -> bytes:
    return _u32(8 + len(body)) + name + body


def _full(name: bytes, version: int, flags: int, body: bytes) -> bytes:
    return _box(name, _u32(version << 24 | flags) + body)
