"""One gain and one offset between two pictures of the same scene: sun, dusk, exposure, a lamp."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.motion.planes import Floats, Plane

STEP = 3
ROUNDS = 3


def fit(plane: Plane, reference: Floats) -> tuple[float, float]:
    """(gain, offset) with gain × reference + offset ≈ plane, by trimmed least squares on every third pixel.

    The pixels that fit worst are left out in each round, so an object in view hardly pulls; the start is the
    median difference, which half the picture cannot bend.
    """
    y = plane[::STEP, ::STEP].ravel().astype(np.float32)
    x = reference[::STEP, ::STEP].ravel()
    rest: Floats = y - x
    rest -= np.median(rest)
    gain, offset = 1.0, 0.0
    for _ in range(ROUNDS):
        far = np.abs(rest)
        keep = far <= max(2.0, 2.5 * float(np.median(far)))
        xs, ys = x[keep], y[keep]
        mx, my = float(xs.mean()), float(ys.mean())
        dx = xs - mx
        power = float(dx @ dx)
        # A plain picture cannot tell gain from offset: lean towards gain 1.
        prior = 25.0 * xs.size
        gain = (float(dx @ (ys - my)) + prior * 0.02) / (power + prior * 0.02)
        gain = min(max(gain, 0.2), 5.0)
        offset = my - gain * mx
        rest = y - (gain * x + offset)
    return gain, offset
