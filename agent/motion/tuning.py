"""The detector's few numbers, each with its meaning, and how `sensitivity` moves them."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Grey levels are of 0..255, times in seconds, areas in pixels of the small plane."""

    floor: float = 9.0
    """a pixel differs only by more grey levels than this, however quiet its past"""
    change_floor: float = 7.0
    """the same for the change against the picture of `lag_s` ago"""
    spread_gain: float = 2.2
    """and by more than this times its own usual deviation"""
    learn_s: float = 6.0
    """the background follows a lasting change with this time constant"""
    calm_s: float = 8.0
    """and a pixel's usual deviation is forgotten with this one"""
    rise_s: float = 1.0
    """while a larger one is taken in with this one"""
    active_rise_s: float = 5.0
    """or, where something moves, with this one"""
    lag_s: float = 0.4
    """motion is a change within this time"""
    block_s: float = 20.0
    """where something moves the background is not learned, for at most this long"""
    mass: float = 14.0
    """what a blob needs: the sum over its pixels of difference / threshold, each at most `pixel_cap`"""
    pixel_cap: float = 3.0
    moving_share: float = 0.03
    """share of a blob's pixels that changed within `lag_s`"""
    texture: float = 0.9
    """a blob correlating with the background more than this is light on it, not an object"""
    busy_gain: float = 1.0
    """how much the busyness of the scene raises the mass wanted"""
    track_s: float = 0.5
    """a weak blob counts once it has been followed for this long"""
    track_path: float = 3.0
    """and has gone this many pixels, straight"""
    unrest_active: float = 0.0
    held_share: float = 0.01
    heat_s: float = 15.0
    heat0_s: float = 2.0
    heat_max: float = 0.2
    heat_gain: float = 10.0
    heat_limit: float = 0.0
    plain: float = 1.0
    dil: float = 0.0
    change_gain: float = 2.0
    hold_s: float = 0.5
    """the decision lasts this long after the last motion seen"""
    upheaval: float = 0.45
    """when more of the picture than this differs at once, it is a new light or a new view"""
    quiet_s: float = 0.6
    """no motion is called for this long after an upheaval"""
    warm_s: float = 1.0
    """nor after the start"""


def tuned(sensitivity: int) -> Tuning:
    """The tuning for `sensitivity` 1..10: each step lowers what a pixel and a blob need; 5 is as tuned."""
    base = Tuning()
    factor = 0.88 ** (sensitivity - 5)
    return replace(
        base,
        floor=base.floor * factor**0.5,
        change_floor=base.change_floor * factor**0.5,
        mass=base.mass * factor**1.5,
        track_path=base.track_path * factor**0.5,
    )
