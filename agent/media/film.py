"""A playable stretch of access units as a film: which samples, how long each, in fragments of fragmented MP4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent.frame import Codec
from agent.media import fmp4
from agent.media.fmp4 import Reference, Sample, ticks
from agent.media.h264 import ParameterSets, parameter_sets, to_lengths

USUAL_NS = 40_000_000


@dataclass(frozen=True, slots=True)
class Unit:
    """One access unit (Annex B) and when it is decoded; the fields are a Frame's."""

    codec: Codec
    data: bytes
    keyframe: bool
    index: int
    pts_ns: int
    delay_us: int = 0


def playable(units: Iterable[Unit]) -> Iterator[Unit]:
    """Those that a player can show: from a keyframe on, and after a gap from the next keyframe on.

    Ends where the parameter sets change: a film has one size.
    """
    last: int | None = None
    sets: ParameterSets | None = None
    for unit in units:
        if unit.codec is Codec.JPEG:
            continue
        if unit.keyframe:
            found = parameter_sets(unit.codec, unit.data)
            if sets is not None and found != sets:
                return
            sets = found
        elif last is None or unit.index != last + 1:
            last = None
            continue
        last = unit.index
        yield unit


@dataclass(frozen=True, slots=True)
class Fragment:
    """Consecutive samples; `units` are their places in the film's order."""

    first: int
    base: int
    samples: tuple[Sample, ...]

    @property
    def size(self) -> int:
        return fmp4.fragment_size(list(self.samples))

    @property
    def reference(self) -> Reference:
        return Reference(self.size, sum(s.duration for s in self.samples), self.samples[0].keyframe)


def fragments(rows: list[tuple[int, Unit]], cut_ns: int = 1_000_000_000) -> list[Fragment]:
    """Cut (sample size, unit without need of its data) into fragments that begin with keyframes, where they can.

    A fragment ends at a keyframe, or after `cut_ns` inside a long group.
    """
    found: list[Fragment] = []
    if not rows:
        return found
    start_ns = rows[0][1].pts_ns
    at = [ticks(u.pts_ns - start_ns) for _, u in rows]
    usual = max(1, (at[-1] - at[0]) // (len(at) - 1)) if len(at) > 1 else ticks(USUAL_NS)
    group: list[Sample] = []
    first = 0
    for i, (size, unit) in enumerate(rows):
        if group and (unit.keyframe or unit.pts_ns - rows[first][1].pts_ns >= cut_ns):
            found.append(Fragment(first, at[first], tuple(group)))
            group, first = [], i
        duration = at[i + 1] - at[i] if i + 1 < len(at) else usual
        group.append(Sample(size, max(1, duration), ticks(unit.delay_us * 1000), unit.keyframe))
    found.append(Fragment(first, at[first], tuple(group)))
    return found


def whole(units: Iterable[Unit]) -> bytes:
    """A film of these access units, for short ones; raises ValueError where no stretch of them can be played."""
    good = list(playable(units))
    if not good:
        raise ValueError("no keyframe: nothing can be played")
    samples = [to_lengths(u.data) for u in good]
    parts = fragments([(len(s), u) for s, u in zip(samples, good, strict=True)])
    sets = parameter_sets(good[0].codec, good[0].data)
    out = [head(sets, parts)]
    for n, f in enumerate(parts, 1):
        out.append(fmp4.fragment_head(n, f.base, list(f.samples)))
        out += samples[f.first : f.first + len(f.samples)]
    return b"".join(out)


def head(sets: ParameterSets, parts: list[Fragment]) -> bytes:
    """What stands before the fragments: the tracks and the index."""
    duration = sum(f.reference.duration for f in parts)
    return fmp4.init_segment(sets, duration) + fmp4.segment_index([f.reference for f in parts])
