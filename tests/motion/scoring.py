"""Frames and events of a film, against its labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.motion import MotionSettings
from agent.motion.evaluate import judge


@dataclass(frozen=True)
class Score:
    """Frames that were called rightly and wrongly, events caught within a second, late and missed."""

    tp: int
    fp: int
    fn: int
    tn: int
    caught: int
    late: int
    missed: int

    @property
    def f1(self) -> float:
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn) if self.tp + self.fp + self.fn else math.nan

    @property
    def fpr(self) -> float:
        return self.fp / (self.fp + self.tn) if self.fp + self.tn else math.nan


def score(pictures: Iterable[bytes], labels: dict[str, Any], per_s: float | None = None,
          settings: MotionSettings | None = None) -> Score:  # fmt: skip
    """What the agent's own path decides of a film's JPEGs, against labels as in clips/README.md."""
    fps = labels["fps"]
    judged = judge(pictures, fps, settings or MotionSettings(), per_s)
    return compare([j.decision.moving for j in judged], labels)


def compare(moving: Sequence[bool], labels: dict[str, Any]) -> Score:
    called = np.array(moving, bool)
    truth = np.full(len(called), 2)
    for first, last, state in labels["states"]:
        truth[first : last + 1] = {"none": 0, "motion": 1, "dontcare": 2}[state]
    fps, events = labels["fps"], [0, 0, 0]
    for first, last in labels["events"]:
        if first < labels["warmup"]:
            continue
        soon = called[max(0, int(first - 0.3 * fps)) : min(last, int(first + fps)) + 1].any()
        events[0 if soon else 1 if called[first : last + 1].any() else 2] += 1
    counts = [int((called == c)[truth == t].sum()) for c, t in ((True, 1), (True, 0), (False, 1), (False, 0))]
    return Score(*counts, *events)
