"""Light, not things: one gain and offset between two pictures, and patches that only light explains."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from agent.motion.blobs import Blob
    from agent.motion.planes import Floats, Plane

STEP = 3
ROUNDS = 3
LARGE = 60
"""pixels from which a blob's light may be stronger in one place than in another"""
PRIOR = 9.0
"""noise power of a pixel: a patch with less texture than this tells no gain"""


class Light(NamedTuple):
    """Grey levels of now = gain × grey levels of the background + offset."""

    gain: float = 1.0
    offset: float = 0.0

    def since(self, old: Light) -> Light:
        """What turns a picture taken in the old light into this one."""
        ratio = self.gain / old.gain
        return Light(ratio, self.offset - old.offset * ratio)

    def differs(self) -> bool:
        """Whether this light is worth following."""
        return abs(self.gain - 1) > 0.02 or abs(self.offset) > 1

    def step(self, level: float) -> float:
        """How large the change is, as a natural logarithm, for a picture of mean grey `level`.

        Of contrast and of brightness the smaller: a large object bends one of them, a lamp both.
        """
        brightness = max(self.gain * level + self.offset, 1.0) / max(level, 1.0)
        return min(abs(math.log(self.gain)), abs(math.log(brightness)))


def fit(plane: Plane, reference: Floats) -> Light:
    """The light that makes `reference` most like `plane`, by trimmed least squares on every third pixel.

    The pixels that fit worst are left out in each round, so an object in view hardly pulls; the start is the
    median difference, which half the picture cannot bend.
    """
    y = plane[::STEP, ::STEP].ravel().astype(np.float32)
    x = reference[::STEP, ::STEP].ravel()
    xx, xy = x * x, x * y
    rest: Floats = y - x
    rest -= _middle(rest)
    light = Light()
    for _ in range(ROUNDS):
        far = np.abs(rest)
        keep = (far <= max(2.0, 2.5 * _middle(far))).astype(np.float32)
        n, sx, sy = float(keep.sum()), float(keep @ x), float(keep @ y)
        power = float(keep @ xx) - sx * sx / n
        # A plain picture cannot tell gain from offset: lean towards gain 1.
        prior = 0.5 * n
        gain = min(max((float(keep @ xy) - sx * sy / n + prior) / (power + prior), 0.2), 5.0)
        light = Light(gain, (sy - gain * sx) / n)
        rest = y - (gain * x + light.offset)
    return light


def _middle(values: Floats) -> float:
    """The upper median; numpy's own costs five times as much."""
    half = values.size // 2
    return float(np.partition(values, half)[half])


def explains(blob: Blob, plane: Plane, reference: Plane) -> float:
    """How well the blob is the background in another light, 0..1.

    The patch (the blob's box grown by a pixel or two) is fitted with gain × background + a ramp; in a large patch the
    gain may bend too (a headlight, a cloud's edge). Either the fit leaves little of the patch's texture unexplained,
    or little of the difference itself: light on something plain has no texture, but soft edges, and an object has not.
    """
    grow = 1 + (blob.area > 40)
    window = np.s_[max(0, blob.y - grow) : blob.y + blob.h + grow, max(0, blob.x - grow) : blob.x + blob.w + grow]
    a = plane[window].astype(np.float32)
    b = reference[window].astype(np.float32)
    fields = _fields(a.shape, blob.area >= LARGE)
    gains = (fields if blob.area >= LARGE else fields[:1]) * (b - b.mean())
    model = np.concatenate([gains, fields]).reshape(-1, a.size)
    square = model @ model.T
    doubt = [PRIOR * a.size] * len(gains) + [0.01 * a.size] * len(fields)
    square[np.diag_indices(len(model))] += np.array(doubt, np.float32)
    weights = np.linalg.solve(square, model @ a.ravel())
    if not 0.2 < weights[0] < 5:
        return 0.0
    rest = a.ravel() - weights @ model
    left = float(rest @ rest)
    texture = float(np.square(a - a.mean()).sum())
    change = float(np.square(a - b).sum())
    detail = 1 - left / texture if texture > PRIOR * a.size else 0.0
    return max(detail, 1 - left / change if change else 0.0)


@lru_cache(maxsize=256)
def _fields(shape: tuple[int, ...], bends: bool) -> Floats:
    """1, x and y over the patch (-1..1), and their squares and product if it bends: fields × height × width."""
    height, width = shape
    y, x = np.broadcast_arrays(
        np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    )
    one = np.ones(shape, np.float32)
    return np.stack([one, x, y, x * x, y * y, x * y] if bends else [one, x, y])
