"""Scenes made from nothing but numbers, exact labels included: weather, water, leaves, jitter, night, switched light.

Each scene is a still view, disturbances that are no motion, and actors that are. They exist so that the detector is
not fitted to the few labelled films that there are; a seed gives another view with other actors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[Any]
WIDTH, HEIGHT, FPS = 320, 240, 10.0
WARM_S, MARGIN_S = 2.0, 0.2


@dataclass(frozen=True)
class Actor:
    """Something that moves: straight from `start` to `end` (pixels, feet or wheels) between two times in seconds."""

    from_s: float
    to_s: float
    start: tuple[float, float]
    end: tuple[float, float]
    height: float
    grey: float
    kind: str = "person"
    stays: bool = False
    """it remains in the picture where it arrived"""

    def at(self, t: float) -> tuple[float, float] | None:
        if t < self.from_s or (t > self.to_s and not self.stays):
            return None
        k = min(1.0, (t - self.from_s) / (self.to_s - self.from_s))
        return self.start[0] + k * (self.end[0] - self.start[0]), self.start[1] + k * (self.end[1] - self.start[1])

    def draw(self, view: Plane, t: float) -> tuple[int, int, int, int] | None:
        """Paint it; its box within the picture, or None when it is outside."""
        place = self.at(t)
        if place is None:
            return None
        x, y = place
        h, stride = self.height, np.sin(2 * np.pi * 1.8 * min(t, self.to_s))
        shift = 3

        def point(px: float, py: float) -> tuple[int, int]:
            return round(px * 2**shift), round(py * 2**shift)

        if self.kind == "car":
            w = 2.2 * h
            cv2.rectangle(view, point(x - w / 2, y - h * 0.6), point(x + w / 2, y), self.grey, -1, cv2.LINE_AA, shift)
            roof = self.grey * 0.6
            cv2.rectangle(view, point(x - w / 4, y - h), point(x + w / 4, y - h * 0.6), roof, -1, cv2.LINE_AA, shift)
        else:
            w = 0.42 * h
            width = max(1, round(h * 0.11))
            for side in (-1, 1):
                foot = point(x + side * stride * 0.2 * h, y)
                cv2.line(view, point(x, y - 0.45 * h), foot, self.grey * 0.7, width, cv2.LINE_AA, shift)
                hand = point(x - side * stride * 0.18 * h, y - 0.42 * h)
                cv2.line(view, point(x, y - 0.78 * h), hand, self.grey * 0.9, width, cv2.LINE_AA, shift)
            size = point(0.14 * h, 0.22 * h)
            cv2.ellipse(view, point(x, y - 0.62 * h), size, 0, 0, 360, self.grey, -1, cv2.LINE_AA, shift)
            head = round(0.09 * h * 2**shift)
            cv2.circle(view, point(x, y - 0.91 * h), head, min(255, self.grey * 1.4), -1, cv2.LINE_AA, shift)
        x0, y0 = max(0, round(x - w / 2)), max(0, round(y - h))
        x1, y1 = min(WIDTH, round(x + w / 2)), min(HEIGHT, round(y))
        return (x0, y0, x1 - x0, y1 - y0) if x1 - x0 > 1 and y1 - y0 > 1 else None


Change = Callable[[Plane, float, np.random.Generator], Plane]


@dataclass
class Scene:
    """A view, its actors, what is done to the view before them (`world`) and after them (`camera`)."""

    seed: int
    view: Plane
    actors: list[Actor] = field(default_factory=list)
    world: list[Change] = field(default_factory=list)
    camera: list[Change] = field(default_factory=list)
    seconds: float = 30.0
    fps: float = FPS

    def frames(self) -> Iterator[tuple[Plane, list[tuple[int, int, int, int]]]]:
        """Each picture (HEIGHT × WIDTH uint8) with the boxes of what is moving in it."""
        rng = np.random.default_rng(self.seed)
        for i in range(round(self.seconds * self.fps)):
            t = i / self.fps
            picture = self.view.copy()
            for change in self.world:
                picture = change(picture, t, rng)
            boxes = []
            for actor in self.actors:
                box = actor.draw(picture, t)
                if box is not None and t <= actor.to_s:
                    boxes.append(box)
            for change in self.camera:
                picture = change(picture, t, rng)
            yield np.clip(picture, 0, 255).astype(np.uint8), boxes

    def films(self, quality: int = 80) -> tuple[list[bytes], list[list[tuple[int, int, int, int]]]]:
        """The JPEG of each picture, and its boxes."""
        jpegs, boxes = [], []
        for picture, moving in self.frames():
            jpegs.append(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())
            boxes.append(moving)
        return jpegs, boxes


def labels(name: str, boxes: list[list[tuple[int, int, int, int]]], fps: float) -> dict[str, Any]:
    """Labels as the scorer reads them: states with 0.2 s of don't care at each change, and after the start."""
    n = len(boxes)
    moving = np.array([bool(b) for b in boxes])
    state = np.where(moving, 1, 0)
    margin = round(MARGIN_S * fps)
    for i in np.flatnonzero(np.diff(moving.astype(int))) + 1:
        state[max(0, i - margin) : i + margin] = 2
    warm = round(WARM_S * fps)
    state[:warm] = 2
    edges = np.flatnonzero(np.diff(moving.astype(int), prepend=0, append=0))
    events = [[int(a), int(b) - 1] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    cuts = [0, *(np.flatnonzero(np.diff(state)) + 1).tolist(), n]
    states = [[a, b - 1, ("none", "motion", "dontcare")[state[a]]] for a, b in pairwise(cuts)]
    return {
        "name": name, "fps": fps, "frames": n, "width": WIDTH, "height": HEIGHT, "warmup": warm, "states": states,
        "events": events, "boxes": {str(i): b for i, b in enumerate(boxes) if b}, "tags": [],
    }  # fmt: skip


# Views


def street(seed: int) -> Plane:
    """A view with sky, walls, windows, ground and texture at every scale, float32 of 20..230."""
    rng = np.random.default_rng(seed)
    view = np.full((HEIGHT, WIDTH), 0, np.float32)
    for octave in range(2, 8):
        small = rng.normal(0, 1, (3 * 2**octave // 2, 2**octave * 2)).astype(np.float32)
        view += cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) * 9 * 0.75 ** (octave - 2)
    horizon = int(rng.uniform(0.3, 0.5) * HEIGHT)
    view[:horizon] += rng.uniform(140, 190)
    view[horizon:] += rng.uniform(80, 130)
    for _ in range(9):
        x, w = int(rng.uniform(-30, WIDTH)), int(rng.uniform(20, 90))
        y, h = int(rng.uniform(10, horizon)), int(rng.uniform(30, 110))
        grey = rng.uniform(50, 190)
        part = view[y : y + h, max(0, x) : x + w]
        part += grey - part.mean() if part.size else 0
        for wx in range(max(0, x) + 4, x + w - 8, 14):
            view[y + 6 : y + h - 8 : 18, wx : wx + 8] = grey * 0.5
            view[y + 7 : y + h - 8 : 18, wx : wx + 8] = grey * 0.5
    return np.clip(cv2.GaussianBlur(view, (3, 3), 0), 20, 230)


def night(seed: int) -> Plane:
    """The street by infra-red: dark, lit in the middle."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    lamp = np.exp(-(((x - WIDTH / 2) / 130) ** 2 + ((y - HEIGHT * 0.6) / 100) ** 2))
    return np.asarray(street(seed) * (0.08 + 0.45 * lamp), np.float32)


# Disturbances


def noise(sigma: float) -> Change:
    return lambda view, t, rng: view + rng.normal(0, sigma, view.shape).astype(np.float32)


def jitter(pixels: float) -> Change:
    """A camera that shakes: two slow swings and a shiver, `pixels` is the standard deviation."""

    def change(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        swing = np.array([np.sin(2 * np.pi * 1.3 * t), np.sin(2 * np.pi * 0.9 * t + 1)])
        dx, dy = (swing + rng.normal(0, 0.5, 2)) * pixels
        matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        return cv2.warpAffine(view, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)

    return change


def rain(drops: int, grey: float = 35.0) -> Change:
    def change(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        layer = np.zeros_like(view)
        for _ in range(rng.poisson(drops)):
            x, y, length = rng.uniform(0, WIDTH), rng.uniform(-20, HEIGHT), rng.uniform(8, 40)
            end = (round(x - length * 0.15), round(y + length))
            cv2.line(layer, (round(x), round(y)), end, rng.uniform(0.4, 1) * grey, 1, cv2.LINE_AA)
        return np.asarray(view + layer, np.float32)

    return change


def snow(flakes: int, seed: int) -> Change:
    """Flakes at all distances: near ones are large and fast."""
    rng0 = np.random.default_rng(seed)
    near = rng0.uniform(0, 1, flakes) ** 4
    x0, y0, sway = (rng0.uniform(0, 1, flakes) for _ in range(3))

    def change(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        for n, x, y, s in zip(near, x0, y0, sway, strict=True):
            px = (x * WIDTH + (20 + 60 * n) * t + 6 * np.sin(2 + 7 * s + 2 * t)) % (WIDTH + 20) - 10
            py = (y * HEIGHT + (50 + 250 * n) * t) % (HEIGHT + 20) - 10
            cv2.circle(view, (round(px * 8), round(py * 8)), round((0.5 + 3 * n) * 8), 225, -1, cv2.LINE_AA, 3)
        return view

    return change


def _warp(view: Plane, mask: Plane, dx: Plane, dy: Plane) -> Plane:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    return cv2.remap(view, x + dx * mask, y + dy * mask, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def leaves(seed: int, amplitude: float, centre: tuple[float, float] = (0.7, 0.3), size: float = 0.35) -> Change:
    """A tree that waves: contrasty leaves against the sky, each branch with a beat of its own, in gusts."""
    rng0 = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    mask = np.exp(-((((x / WIDTH - centre[0]) / size) ** 2 + ((y / HEIGHT - centre[1]) / size) ** 2) ** 2))
    coarse = cv2.resize(rng0.normal(0, 1, (60, 80)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    foliage = cv2.GaussianBlur(np.where(coarse > 0, 60, 190).astype(np.float32), (5, 5), 0)
    phases = [
        cv2.resize(rng0.uniform(0, 6, (6, 8)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        for _ in range(2)
    ]

    def change(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        gust = amplitude * (0.5 + 0.5 * np.sin(2 * np.pi * t / 11 + seed))
        dx = gust * np.sin(2 * np.pi * 0.7 * t + phases[0]) + 0.4 * gust * np.sin(2 * np.pi * 1.7 * t + phases[1])
        dy = 0.4 * gust * np.sin(2 * np.pi * 0.9 * t + phases[1])
        moved: Plane = _warp(foliage, mask, dx.astype(np.float32), dy.astype(np.float32))
        return np.asarray(view * (1 - mask) + moved * mask, np.float32)

    return change


def water(seed: int, contrast: float) -> Change:
    """The lower third is water: crests that run and glitter."""
    rng0 = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    depth = np.clip((y - HEIGHT * 0.62) / (HEIGHT * 0.38), 0, 1)
    waves = [
        (rng0.uniform(0.15, 0.5), rng0.uniform(0.3, 1.0), rng0.uniform(1, 4), rng0.uniform(0, 6)) for _ in range(7)
    ]

    def change(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        crest = sum(np.sin(kx * x * 0.5 + ky * (y - 100) + w * t + p) for kx, ky, w, p in waves) / 2.2
        glitter = np.where(crest > 1.2, contrast * 1.5, 0)
        return np.asarray(np.where(depth > 0, 95 + contrast * crest + glitter, view), np.float32)

    return change


def light(curve: Callable[[float], float]) -> Change:
    """The whole picture's brightness times `curve(seconds)`."""
    return lambda view, t, rng: np.asarray(view * curve(t), np.float32)


def flicker(depth: float, beat_hz: float = 1.7) -> Change:
    """Mains light through a rolling shutter: bands that travel down the picture."""
    rows = np.arange(HEIGHT, dtype=np.float32)[:, None]

    def change(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        return np.asarray(view * (1 + depth * np.sin(2 * np.pi * (rows / 90 + beat_hz * t))), np.float32)

    return change


def cloud(darkness: float, speed: float) -> Change:
    """A soft shadow that drifts over the view."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)

    def change(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        place = speed * t - 120
        edge = 1 / (1 + np.exp(-(x + 0.3 * y - place) / 18)) - 1 / (1 + np.exp(-(x + 0.3 * y - place + 260) / 18))
        return np.asarray(view * (1 + darkness * edge), np.float32)

    return change


def beam(from_s: float, to_s: float) -> Change:
    """Headlights of a car that is not in view sweep over the scene."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)

    def change(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        if not from_s <= t <= to_s:
            return view
        cx = -60 + (WIDTH + 120) * (t - from_s) / (to_s - from_s)
        return np.asarray(view * (1 + 1.4 * np.exp(-(((x - cx) / 50) ** 2 + ((y - 140) / 60) ** 2))), np.float32)

    return change


def night_switch(at_s: float, back_s: float) -> Change:
    """The camera turns to infra-red and back: other tones, a lit middle, noise."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    lamp = np.exp(-(((x - WIDTH / 2) / 130) ** 2 + ((y - HEIGHT * 0.6) / 100) ** 2))

    def change(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        if not at_s <= t < back_s:
            return view
        toned = 255 * (view / 255) ** 0.7
        return np.asarray(toned * (0.1 + 0.5 * lamp) + rng.normal(0, 4, view.shape), np.float32)

    return change


# The scenes


def walkers(seed: int, height: float, grey: float = 60.0, seconds: float = 30.0) -> list[Actor]:
    """Two people who cross one after the other, one each way, with quiet between."""
    rng = np.random.default_rng(seed + 1000)
    y1, y2 = rng.uniform(0.62, 0.95, 2) * HEIGHT
    speed = max(12.0, height * 0.8)
    far = min(WIDTH + 20.0, speed * 0.27 * seconds)
    a, b = 0.25 * seconds, 0.66 * seconds
    return [
        Actor(a, a + far / speed, (-10, y1), (far - 10, y1), height, grey),
        Actor(b, b + far / speed, (WIDTH + 10, y2), (WIDTH + 10 - far, y2), height * 0.9, grey * 1.2),
    ]


def _scene(
    seed: int,
    height: float,
    *,
    world: Sequence[Change] = (),
    camera: Sequence[Change] = (),
    grey: float = 60.0,
    view: Callable[[int], Plane] = street,
    sigma: float = 1.5,
) -> Scene:
    return Scene(seed, view(seed), walkers(seed, height, grey), list(world), [*camera, noise(sigma)])


SCENES: dict[str, Callable[[int], Scene]] = {
    "calm": lambda s: _scene(s, 60),
    "far": lambda s: _scene(s, 18),
    "very_far": lambda s: _scene(s, 12),
    "jitter_small": lambda s: _scene(s, 40, camera=[jitter(1.0)]),
    "jitter_large": lambda s: _scene(s, 60, camera=[jitter(3.0)]),
    "rain": lambda s: _scene(s, 50, camera=[rain(60)], sigma=2),
    "downpour": lambda s: _scene(s, 60, camera=[rain(200, 60)], sigma=3),
    "snow": lambda s: _scene(s, 50, camera=[snow(120, s)], sigma=2),
    "leaves": lambda s: _scene(s, 45, world=[leaves(s, 4)]),
    "storm": lambda s: _scene(s, 60, world=[leaves(s, 9), leaves(s + 1, 7, (0.15, 0.4), 0.3)]),
    "leaves_far": lambda s: _scene(s, 16, world=[leaves(s, 5)]),
    "water": lambda s: _scene(s, 45, world=[water(s, 22)]),
    "night": lambda s: _scene(s, 50, view=night, sigma=7, grey=110),
    "night_far": lambda s: _scene(s, 20, view=night, sigma=5, grey=130),
    "flicker": lambda s: _scene(s, 50, camera=[flicker(0.1)]),
    "ramp": lambda s: _scene(s, 45, camera=[light(lambda t: 1 - 0.7 * min(1, t / 28))]),
    "step": lambda s: _scene(s, 50, camera=[light(lambda t: 0.55 if 5 <= t < 17 else 1.0)]),
    "exposure": lambda s: _scene(s, 50, camera=[light(lambda t: 1 + 0.3 * float(np.sin(t * 1.1)))]),
    "cloud": lambda s: _scene(s, 45, world=[cloud(0.4, 35)]),
    "beam": lambda s: _scene(s, 50, view=night, world=[beam(4, 6.5), beam(17, 19)], grey=110, sigma=3),
    "ir_switch": lambda s: _scene(s, 55, camera=[night_switch(4, 18)], sigma=2),
    "left_object": lambda s: _left(s),
    "cars": lambda s: _cars(s),
    "still_noise": lambda s: Scene(s, street(s), camera=[noise(8)]),
}


def _left(seed: int) -> Scene:
    """Somebody arrives and stays; a parked thing is carried off: what it hid shows, and does not move."""
    who = Actor(5, 11, (-10, 200), (150, 200), 60, 50, stays=True)

    def bag(view: Plane, t: float, rng: np.random.Generator) -> Plane:
        if t < 14:
            cv2.rectangle(view, (190, 170), (225, 200), 40, -1)
        return view

    return Scene(seed, street(seed), [who], [bag], [noise(2)])


def _cars(seed: int) -> Scene:
    rng = np.random.default_rng(seed)
    actors = [
        Actor(t, t + 2.5, (-40, 200), (WIDTH + 40, 190), 30, float(rng.uniform(30, 220)), "car")
        for t in (5.0, 6.0, 15.0, 22.0)
    ]
    return Scene(seed, street(seed), actors, world=[leaves(seed, 3, (0.2, 0.2), 0.25)], camera=[noise(2)])
