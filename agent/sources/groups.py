"""Frames that lean on others: a run begins with a keyframe, a loss takes the rest of its group, each knows its own."""

from __future__ import annotations

from dataclasses import replace

from agent.frame import Codec, Frame
from agent.media.h264 import ParameterSets, parameter_sets
from agent.sources.sizes import Changes

MAX_CHAIN_FRAMES = 3000
MAX_CHAIN_BYTES = 16 * 1024 * 1024


class Groups:
    """One connection's frames in order. JPEGs pass; H.264 and H.265 get their `gop`, `prior` and, where the
    parameter sets change (another picture size), a new run: `index` 0 again.

    Where they go to and fro, groups with others than the run's are left out until these have lasted for 5 s.
    `left_out` counts such groups; `lost` frames that are of no use without others: before the first keyframe, behind a
    loss, or in a group that was left out.
    """

    def __init__(self) -> None:
        self._base = 0
        self._last: Frame | None = None
        self._sets: ParameterSets | None = None  # of the run
        self._newest: ParameterSets | None = None
        self._changes = Changes()
        self._chain_bytes = 0
        self.left_out = self.lost = 0

    def place(self, frame: Frame) -> Frame | None:
        """The frame with its place in its group; None for one that leans on a lost one, or is left out.

        `index` as it was captured.
        """
        if frame.codec is Codec.JPEG:
            return frame
        if frame.keyframe:
            return self._begin(frame)
        last = self._last
        if last is None or frame.index - self._base != last.index + 1:
            self._last = None
            self.lost += 1
            return None
        self._chain_bytes += len(frame.data)
        kept = last.gop < MAX_CHAIN_FRAMES and self._chain_bytes <= MAX_CHAIN_BYTES
        self._last = replace(frame, index=last.index + 1, gop=last.gop + 1, prior=last if kept else None)
        return self._last

    def _begin(self, frame: Frame) -> Frame | None:
        sets = parameter_sets(frame.codec, frame.data)
        if self._newest is None:
            self._sets = self._newest = sets
            self._base = frame.index
        elif sets.complete and sets != self._newest:
            self._newest = sets
            self._changes.add(frame.pts_ns)
        if self._newest != self._sets:
            if not self._changes.believed(frame.pts_ns):
                self.left_out += 1
                self.lost += 1
                return None
            self._sets = self._newest
            self._base = frame.index
        self._changes.keep(frame.pts_ns)
        self._chain_bytes = len(frame.data)
        self._last = replace(frame, index=frame.index - self._base)
        return self._last
