"""The detector's numbers, each with its meaning, and how `sensitivity` moves them."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Grey levels are of 0..255, times in seconds, lengths and areas in pixels of the small plane."""

    # A pixel differs
    floor: float = 5.0
    """only by more grey levels than this"""
    weber: float = 0.06
    """and by more than this share of its own brightness: contrast grows with light"""
    range_gain: float = 0.2
    """and by more than this share of the range that it showed lately"""

    # What is usual
    range_s: float = 8.0
    """what a pixel showed is remembered this long, at most twice this"""
    learn_s: float = 6.0
    """the mean picture, which tells light from things, follows with this time constant"""
    block_s: float = 20.0
    """where something moves, nothing is learned for at most this long"""
    heat_s: float = 15.0
    """how often a pixel differs without motion is remembered this long"""
    heat_gain: float = 60.0
    """a pixel that differs a share h of the time counts 1 / (1 + heat_gain × h): its calm"""
    shield: float = 0.35
    """only pixels calmer than this are kept from learning by motion: leaves must not shield themselves"""
    worn_s: float = 3.0
    """ground on which something differed counts as new again after this long"""

    # A blob is an object
    lag_s: float = 0.4
    """motion is a change within this time"""
    moving_share: float = 0.03
    """this share of a blob's pixels must have changed within `lag_s`"""
    alight: float = 0.9
    """a blob explained to this share by light on the background is no object"""

    # A track moves
    evidence: float = 14.0
    """its new ground must be worth this: the sum over new pixels of difference / threshold × calm"""
    pixel_cap: float = 3.0
    """one pixel's difference / threshold counts no more than this"""
    ground_s: float = 2.0
    """ground conquered counts this long"""
    clutter_gain: float = 1.2
    """a track must be worth this many times what lately came to nothing"""
    clutter_s: float = 15.0
    """what came to nothing is remembered this long"""
    astray: float = 0.2
    """ground counts times straightness (distance / path), but no less than this"""
    patience_s: float = 15.0
    """what moves on the spot stays motion for this long, in calm places"""

    # A track goes somewhere, and so is no branch: what lies under it is not learned
    gone: float = 3.0
    """when it has gone this far within 2 s"""
    gone_size: float = 0.5
    """and this share of its own smaller side"""
    straight: float = 0.5
    """this straight"""

    # Light and the start
    light_step: float = 0.25
    """a change of the whole picture's light within `lag_s` (natural logarithm) after which nothing begins for
    `quiet_s`"""
    upheaval: float = 0.6
    """when more of the picture than this differs at once, it is another light or another view"""
    quiet_s: float = 0.6
    """no motion begins for this long after either"""
    quiet_looks: int = 6
    """nor for so many analyses (of a fifth of a second at most): the range has to know what the new light does"""
    warm_s: float = 1.5
    """nor after the start"""
    hold_s: float = 0.19
    """the decision outlasts the motion by less than an analysis at five a second: post-roll is the recorder's"""


STEP = 0.88
"""a step of sensitivity multiplies the contrast wanted by its square root, the evidence wanted by its power of 1.5"""


def evidence_factor(sensitivity: float) -> float:
    """What `sensitivity` 1..10 multiplies the wanted evidence by; 1 at 5."""
    return float(STEP ** (1.5 * (sensitivity - 5)))


def tuned(sensitivity: float) -> Tuning:
    """The tuning for `sensitivity` 1..10: each step lowers what a pixel and a track need; 5 is as tuned."""
    base = Tuning()
    contrast = STEP ** (0.5 * (sensitivity - 5))
    return replace(
        base,
        floor=base.floor * contrast,
        weber=base.weber * contrast,
        evidence=base.evidence * evidence_factor(sensitivity),
    )
