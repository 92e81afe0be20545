"""Scenes of another kind than in `scenes`, to hold against the numbers that were chosen with those.

The people wear stripes, cast soft shadows and come in any shade; what disturbs is a fan, a flag, a television, a
thread before the lens, gusts at the camera's pole, exposure that hunts, coarse noise of a camera that smooths, sunny
patches, drops on the glass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from tests.motion.scenes import HEIGHT, WIDTH, Actor, Change, Plane, Scene, flicker, jitter, noise, rain, snow, street


class Walker(Actor):
    """A striped person with a shadow."""

    def draw(self, view: Plane, t: float) -> tuple[int, int, int, int] | None:
        place = self.at(t)
        if place is None:
            return None
        (x, y), h = place, self.height
        shade = np.zeros_like(view)
        size = (max(1, round(h * 0.35)), max(1, round(h * 0.06)))
        cv2.ellipse(shade, (round(x + h * 0.25), round(y)), size, -8, 0, 360, 1.0, -1, cv2.LINE_AA)
        view *= 1 - 0.35 * cv2.GaussianBlur(shade, (0, 0), max(1, h * 0.03))
        rows = np.arange(HEIGHT, dtype=np.float32)[:, None]
        stripes = self.grey + 25 * np.sign(np.sin((rows - y) / h * 40))
        tone = np.where(rows > y - 0.45 * h, self.grey * 0.6, np.where(rows < y - 0.8 * h, 150, stripes))
        who = np.zeros_like(view)
        box = Actor(self.from_s, self.to_s, self.start, self.end, h, 1.0, self.kind, self.stays).draw(who, t)
        who = np.minimum(who, 1)
        view[:] = view * (1 - who) + tone * who
        return box


def people(seed: int, height: float) -> list[Actor]:
    rng = np.random.default_rng(seed + 77)
    y, grey = rng.uniform(0.6, 0.97, 2) * HEIGHT, rng.choice([35.0, 60.0, 190.0, 225.0], 2)
    speed = max(10.0, height * rng.uniform(0.5, 1.0))
    far = min(WIDTH + 20, speed * 8)
    return [
        Walker(6, 6 + far / speed, (-8, y[0]), (far - 8, y[0] - 8), height, grey[0]),
        Walker(18, 18 + far / speed, (WIDTH + 8, y[1]), (WIDTH + 8 - far, y[1]), height * 0.9, grey[1]),
    ]


def gusts(pixels: float, at_s: Sequence[float]) -> Change:
    shake = jitter(pixels)
    return lambda view, t, rng: shake(view, t, rng) if any(a <= t < a + 1.2 for a in at_s) else view


def hunting(depth: float, at_s: Sequence[float]) -> Change:
    def change(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        swing = sum(depth * np.exp((a - t) / 1.5) * np.sin(4 * (t - a)) for a in at_s if t > a)
        return np.asarray(view * (1 + swing), np.float32)

    return change


def fan(seed: int) -> Change:
    rng0 = np.random.default_rng(seed)
    x, y, radius = rng0.uniform(40, 280), rng0.uniform(30, 120), rng0.uniform(16, 30)

    def change(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        for k in range(3):
            angle = 2 * np.pi * (1.3 * t + k / 3)
            tip = (round(x + radius * np.cos(angle)), round(y + radius * np.sin(angle)))
            cv2.line(view, (round(x), round(y)), tip, 200 if k else 40, 5, cv2.LINE_AA)
        return view

    return change


def flag(seed: int) -> Change:
    rng0 = np.random.default_rng(seed)
    x0, y0 = int(rng0.uniform(20, 230)), int(rng0.uniform(10, 80))
    w, h = int(rng0.uniform(30, 60)), int(rng0.uniform(20, 40))
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    cloth = np.where((y // 7) % 2 > 0, 220, 50).astype(np.float32)

    def change(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        wave = (np.sin(x / 6 - 5 * t) + 0.6 * np.sin(x / 3.3 - 8.1 * t)) * x / w * 3 * (0.6 + 0.4 * np.sin(t * 0.7))
        blown = cv2.remap(cloth, x, (y + wave).astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        view[y0 : y0 + h, x0 : x0 + w] = blown * (1 + 0.15 * np.cos(x / 6 - 5 * t))
        return view

    return change


def television(seed: int) -> Change:
    """It changes its picture about each second, and the room's light with it."""
    rng0 = np.random.default_rng(seed)
    x0, y0 = int(rng0.uniform(30, 220)), int(rng0.uniform(20, 90))
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    glow = np.exp(-(((x - x0 - 25) / 60) ** 2 + ((y - y0 - 60) / 60) ** 2))

    def change(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        scene = np.random.default_rng(seed * 1000 + int(t * 1.1))
        level = scene.uniform(40, 220)
        lit = np.asarray(view * (1 + glow * (level - 130) / 500), np.float32)
        shown = cv2.resize(scene.uniform(20, 235, (4, 6)).astype(np.float32), (50, 34), interpolation=cv2.INTER_CUBIC)
        lit[y0 : y0 + 34, x0 : x0 + 50] = np.clip(shown * level / 230, 0, 255)
        return lit

    return change


def thread(seed: int) -> Change:
    """A spider's, before the lens: wide, faint, blurred, and it swings."""
    y0 = np.random.default_rng(seed).uniform(40, 160)

    def change(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        line, off = np.zeros_like(view), 12 * np.sin(1.9 * t) + 6 * np.sin(4.3 * t)
        cv2.line(line, (-10, round(y0 + off)), (WIDTH + 10, round(y0 + 60 - off)), 1.0, 7, cv2.LINE_AA)
        return np.asarray(view + cv2.GaussianBlur(line, (0, 0), 3) * 40, np.float32)

    return change


def drops(seed: int) -> Change:
    """On the glass: they run down, and what is behind them is blurred."""
    rng0 = np.random.default_rng(seed)
    ways = [(rng0.uniform(20, 300), rng0.uniform(0, 150), rng0.uniform(3, 28), rng0.uniform(4, 8)) for _ in range(7)]

    def change(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        blurred = cv2.GaussianBlur(view, (0, 0), 5) * 0.9 + 12
        seen = np.zeros_like(view)
        for x, y, begin_s, size in ways:
            place = (round(x * 8), round((y + max(0.0, t - begin_s) * 14) * 8))
            cv2.circle(seen, place, round(size * 8), 1, -1, cv2.LINE_AA, 3)
        return np.asarray(view * (1 - seen) + blurred * seen, np.float32)

    return change


def smoothed(sigma: float) -> Change:
    """Noise as a camera leaves it that smooths: coarse, and alive for some frames."""
    last: list[Plane] = []

    def change(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        coarse = cv2.GaussianBlur(rng.normal(0, sigma * 6, view.shape).astype(np.float32), (0, 0), 2.5)
        last[:] = [0.6 * last[0] + 0.4 * coarse if last else coarse]
        return np.asarray(view + last[0], np.float32)

    return change


def patches(speed: float, depth: float) -> Change:
    """Sun through gaps of clouds, `speed` in pixels a second."""
    clouds = cv2.GaussianBlur(np.random.default_rng(5).normal(0, 1, (HEIGHT, WIDTH * 4)).astype(np.float32), (0, 0), 22)
    shade = depth / (1 + np.exp(-3 * clouds / clouds.std()))

    def change(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        at = int(speed * t) % (3 * WIDTH)
        return np.asarray(view * (1 - shade[:, at : at + WIDTH]), np.float32)

    return change


def _scene(seed: int, height: float, world: Sequence[Change] = (), camera: Sequence[Change] = ()) -> Scene:
    return Scene(seed, street(seed + 500), people(seed, height), list(world), [*camera, noise(1.5)])


COMPOSITES: dict[str, Callable[[int], Scene]] = {
    "striped": lambda s: _scene(s, 40),
    "striped_small": lambda s: _scene(s, 19),
    "striped_tiny": lambda s: _scene(s, 14),
    "striped_large": lambda s: _scene(s, 130),
    "gusts": lambda s: _scene(s, 45, camera=[gusts(2.0, (9, 15, 24))]),
    "hunting": lambda s: _scene(s, 50, camera=[hunting(0.18, (6.5, 11, 19))]),
    "fan": lambda s: _scene(s, 45, [fan(s)]),
    "flag": lambda s: _scene(s, 45, [flag(s)]),
    "television": lambda s: _scene(s, 60, [television(s)]),
    "thread": lambda s: _scene(s, 50, camera=[thread(s)]),
    "drops": lambda s: _scene(s, 50, camera=[drops(s)]),
    "smoothed": lambda s: _scene(s, 45, camera=[smoothed(3)]),
    "patches": lambda s: _scene(s, 45, [patches(18, 0.45)]),
    "snowfall": lambda s: _scene(s, 50, camera=[snow(70, s + 9)]),
    "shower": lambda s: _scene(s, 40, camera=[rain(110, 45)]),
    "bands": lambda s: _scene(s, 45, camera=[flicker(0.06, 2.3)]),
}
