"""Light, not things: one gain and offset between two pictures, and patches that only light explains."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agent.motion.blobs import Blob
    from agent.motion.planes import Floats, Plane

STEP = 3
ROUNDS = 3
LARGE = 60
RIDGE = 0.01
GR = 9.0


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


def step(gain: float, offset: float, past, mean: Floats) -> float:
    level = float(mean.mean()) + 1
    _, _, g, o = past
    return min(abs(math.log(gain / g)), abs(math.log(max(gain * level + offset, 1) / max(g * level + o, 1))))


def explains(blob: Blob, plane: Plane, reference: Plane) -> float:
    """How well the blob is the background in another light, 0..1.

    The patch (the blob's box grown by a pixel or two) is fitted with gain × background + a ramp. Either the fit
    leaves little of the background's texture unexplained, or little of the difference itself: light that falls on
    something plain has no texture, but it has soft edges and an object has not.
    """
    grow = 1 + (blob.area > 40)
    window = np.s_[max(0, blob.y - grow) : blob.y + blob.h + grow, max(0, blob.x - grow) : blob.x + blob.w + grow]
    a = plane[window].astype(np.float32)
    b = reference[window].astype(np.float32)
    height, width = a.shape
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] + np.zeros_like(a)
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :] + np.zeros_like(a)
    one = np.ones_like(a)
    fields = [one, x, y, x * x, y * y, x * y] if blob.area >= LARGE else [one, x, y]
    centred = b - b.mean()
    gains = [centred * f for f in fields] if blob.area >= LARGE else [centred]
    model = np.stack([*gains, *fields]).reshape(-1, a.size)
    square = model @ model.T
    square[np.diag_indices(len(model))] += RIDGE * a.size
    square[:len(gains),:len(gains)][np.diag_indices(len(gains))] += GR * a.size
    weights = np.linalg.solve(square, model @ a.ravel())
    if not 0.2 < weights[0] < 5:
        return 0.0
    rest = a.ravel() - weights @ model
    left = float(rest @ rest)
    texture = float(np.square(a - a.mean()).sum())
    change = float(np.square(a - b).sum())
    detail = 1 - left / texture if texture > 9.0 * a.size else 0.0
    return max(detail, 1 - left / change if change else 0.0)
