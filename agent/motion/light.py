"""Light, not things: one gain and offset between two pictures, and patches that only light explains."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from agent.motion.blobs import Blob
    from agent.motion.planes import Floats, Plane

STEP = 3
ROUNDS = 3
PATCH = 24
"""a patch with longer sides is looked at in every second pixel, and so on"""
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

    The pixels that fit worst are left out in each round, so an object in view hardly pulls. Where the first round,
    which starts from the same light, finds the same one, that is the answer; else the start is the median
    difference, which half the picture cannot bend.
    """
    y = plane[::STEP, ::STEP].ravel().astype(np.float32)
    x = reference[::STEP, ::STEP].ravel()
    rest: Floats = y - x
    products = x * x, x * y
    if not _refine(x, y, products, rest).differs():
        return Light()
    rest -= _middle(rest)
    for _ in range(ROUNDS):
        light = _refine(x, y, products, rest)
        rest = y - (light.gain * x + light.offset)
    return light


def _refine(x: Floats, y: Floats, products: tuple[Floats, Floats], rest: Floats) -> Light:
    """Least squares over the pixels whose `rest` is not far from the usual; `products` are x × x and x × y."""
    far = np.abs(rest)
    keep = (far <= max(2.0, 2.5 * _middle(far))).astype(np.float32)
    n, sx, sy = float(keep.sum()), float(keep @ x), float(keep @ y)
    power = float(keep @ products[0]) - sx * sx / n
    # A plain picture cannot tell gain from offset: lean towards gain 1.
    prior = 0.5 * n
    gain = min(max((float(keep @ products[1]) - sx * sy / n + prior) / (power + prior), 0.2), 5.0)
    return Light(gain, (sy - gain * sx) / n)


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
    step = 1 + max(blob.w, blob.h) // PATCH
    window = np.s_[
        max(0, blob.y - grow) : blob.y + blob.h + grow : step, max(0, blob.x - grow) : blob.x + blob.w + grow : step
    ]
    patch = plane[window]
    a = patch.ravel().astype(np.float32)
    b = reference[window].ravel().astype(np.float32)
    bends = blob.area >= LARGE
    fields, doubt = _fields(*patch.shape, bends)
    one = fields[0]
    gains = (fields if bends else fields[:1]) * (b - float(one @ b) / a.size)
    model = np.concatenate([gains, fields])
    square = model @ model.T
    square.ravel()[:: len(model) + 1] += doubt
    solved, column = cv2.solve(square, (model @ a)[:, None], flags=cv2.DECOMP_CHOLESKY)
    weights = column.ravel()
    if not solved or not 0.2 < weights[0] < 5:
        return 0.0
    rest, centred, change = a - weights @ model, a - float(one @ a) / a.size, a - b
    left, texture, changed = float(rest @ rest), float(centred @ centred), float(change @ change)
    detail = 1 - left / texture if texture > PRIOR * a.size else 0.0
    return max(detail, 1 - left / changed if changed else 0.0)


@lru_cache(maxsize=256)
def _fields(height: int, width: int, bends: bool) -> tuple[Floats, Floats]:
    """1, x and y over the patch (-1..1), and their squares and product if it bends: fields × pixels; and how little
    is believed beforehand of a gain along each of them, or of a ramp."""
    y, x = (
        plane.ravel().astype(np.float32)
        for plane in np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    )
    one = np.ones_like(x)
    fields = np.stack([one, x, y, x * x, y * y, x * y] if bends else [one, x, y])
    gains = len(fields) if bends else 1
    doubt = np.array([PRIOR * x.size] * gains + [0.01 * x.size] * len(fields), np.float32)
    return fields, doubt
