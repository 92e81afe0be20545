"""The detector's few numbers, each with its meaning, and how `sensitivity` moves them."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Grey levels are of 0..255, times in seconds, areas in pixels of the small plane."""

    weber: float = 0.06
    floor: float = 6.0
    """a pixel differs, or has changed, only by more grey levels than this, however quiet its past"""
    range_gain: float = 0.2
    """and differs only by more than this share of its own usual range"""
    dil: float = 0.0
    range_s: float = 8.0
    """what a pixel showed is remembered this long, at most twice this"""
    learn_s: float = 6.0
    """the background follows a lasting change with this time constant"""
    block_s: float = 20.0
    """where something moves, none of this is learned for at most this long"""
    lag_s: float = 0.4
    """motion is a change within this time"""
    evidence: float = 14.0
    """what a track needs: the sum over its new pixels of difference / threshold, each at most `pixel_cap`"""
    pixel_cap: float = 3.0
    worn_s: float = 3.0
    """ground on which something differed counts as new again after this long"""
    ground_s: float = 2.0
    """ground conquered counts this long"""
    heat_s: float = 15.0
    """how often a pixel differs without motion is remembered this long"""
    heat_gain: float = 60.0
    """a pixel that differs a share h of the time counts 1 / (1 + heat_gain × h)"""
    gone: float = 3.0
    crowd: float = 6.0
    crowd_gain: float = 0.3
    shield: float = 0.4
    gone_size: float = 0.5
    straight: float = 0.5
    light_step: float = 0.15
    astray: float = 0.2
    clutter_gain: float = 1.5
    """a track must be worth this many times what lately came to nothing"""
    clutter_s: float = 15.0
    moving_share: float = 0.03
    """share of a blob's pixels that changed within `lag_s`"""
    alight: float = 0.9
    """a blob explained by light on the background to this share is no object"""
    patience_s: float = 15.0
    """what moves on the spot stays motion for this long"""
    hold_s: float = 0.19
    """the decision lasts this long after the last motion seen"""
    upheaval: float = 0.45
    """when more of the picture than this differs at once, it is a new light or a new view"""
    quiet_s: float = 0.6
    """no motion is called for this long after an upheaval"""
    warm_s: float = 1.5
    """nor after the start"""


def tuned(sensitivity: int) -> Tuning:
    """The tuning for `sensitivity` 1..10: each step lowers what a pixel and a track need; 5 is as tuned."""
    base = Tuning()
    factor = 0.88 ** (sensitivity - 5)
    return replace(base, floor=base.floor * factor**0.5, evidence=base.evidence * factor**1.5)
