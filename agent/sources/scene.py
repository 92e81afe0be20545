"""Draws the demo scene: a front garden in the evening, a walker and a car that come by in turn."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

WIDTH, HEIGHT = 640, 480
QUIET_FIRST_S = 5.0
VISIT_S = 5.0
PERIOD_S = 16.0
QUALITY = 85
_NOISES = 8
_HORIZON, _LAWN, _STREET = 250, 330, 400


class Scene:
    """Pictures by number, drawn when first asked for and kept: about 4 MB for the whole loop of 32 s.

    Each visit begins 5 s into a period of 16 s and lasts 5 s; between them only the sensor's noise moves.
    """

    def __init__(self, fps: int) -> None:
        self._fps = fps
        self._period = round(PERIOD_S * fps)
        self._jpegs: dict[tuple[str, int], bytes] = {}
        self._backdrop = backdrop()
        rng = np.random.default_rng(920)
        shape = (_NOISES, HEIGHT, WIDTH, 1)
        self._noise = np.clip(rng.normal(0, 1.6, shape), -5, 5).astype(np.int16)

    def _key(self, number: int) -> tuple[str, int]:
        visit, step = divmod(number, self._period)
        begin, end = round(QUIET_FIRST_S * self._fps), round((QUIET_FIRST_S + VISIT_S) * self._fps)
        if not begin <= step < end:
            return "nobody", number % _NOISES
        return ("walker", "car")[visit % 2], step - begin

    def ready(self, number: int) -> bytes | None:
        """The picture if it was drawn before."""
        return self._jpegs.get(self._key(number))

    def picture(self, number: int) -> bytes:
        """The JPEG with this number (0, 1, 2…, endlessly); takes about 5 ms the first time."""
        who, step = key = self._key(number)
        if key not in self._jpegs:
            image = self._backdrop.copy()
            share = step / (VISIT_S * self._fps - 1)
            if who == "walker":
                walker(image, -40 + share * (WIDTH + 80), share * 18)
            elif who == "car":
                car(image, WIDTH + 110 - share * (WIDTH + 220))
            noisy = np.clip(image.astype(np.int16) + self._noise[number % _NOISES], 0, 255).astype(np.uint8)
            self._jpegs[key] = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
        return self._jpegs[key]


def _fade(top: tuple[int, int, int], bottom: tuple[int, int, int], rows: int) -> NDArray[np.float64]:
    """`rows` × 1 × 3 colours from top to bottom."""
    share = np.linspace(0, 1, rows)[:, None, None]
    return np.array(top) * (1 - share) + np.array(bottom) * share


def _polygon(image: Picture, points: list[tuple[float, float]], colour: tuple[int, int, int]) -> None:
    fine = np.array([[round(x * 16), round(y * 16)] for x, y in points], np.int32)
    cv2.fillPoly(image, [fine], colour, cv2.LINE_AA, 4)


def _disc(image: Picture, x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
    cv2.circle(image, (round(x * 16), round(y * 16)), round(radius * 16), colour, -1, cv2.LINE_AA, 4)


def _line(image: Picture, a: tuple[float, float], b: tuple[float, float], wide: int, c: tuple[int, int, int]) -> None:
    fine = [(round(x * 16), round(y * 16)) for x, y in (a, b)]
    cv2.line(image, fine[0], fine[1], c, wide, cv2.LINE_AA, 4)


def backdrop() -> Picture:
    """The scene without anybody: height × width × 3, BGR."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:_HORIZON] = _fade((120, 78, 58), (150, 176, 236), _HORIZON)
    image[_HORIZON:_STREET] = _fade((70, 118, 92), (48, 96, 70), _STREET - _HORIZON)
    image[_STREET:] = _fade((86, 82, 80), (60, 57, 56), HEIGHT - _STREET)
    _sky(image)
    _house(image)
    _garden(image)
    image[_STREET - 6 : _STREET] = (128, 126, 124)
    for x in range(20, WIDTH, 110):
        _polygon(image, [(x, 446), (x + 52, 446), (x + 46, 451), (x - 6, 451)], (176, 180, 182))
    cv2.putText(image, "camera-agent demo", (12, 470), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (190, 190, 190), 1, cv2.LINE_AA)
    return image


def _sky(image: Picture) -> None:
    _disc(image, 520, 196, 34, (150, 206, 255))
    for x, y, w in ((90, 70, 70), (150, 84, 90), (430, 54, 84), (360, 66, 60)):
        cv2.ellipse(image, (x, y), (w, 9), 0, 0, 360, (168, 158, 190), -1, cv2.LINE_AA)
    for base, height, length, colour in ((226, 34, 190, (112, 104, 98)), (250, 30, 130, (92, 100, 78))):
        hill = [(float(x), base - height * math.sin(x / length + base) ** 2) for x in range(0, WIDTH + 8, 8)]
        _polygon(image, [(0.0, 260.0), *hill, (float(WIDTH), 260.0)], colour)


def _house(image: Picture) -> None:
    _polygon(image, [(150, 190), (330, 190), (330, 330), (150, 330)], (150, 176, 196))
    _polygon(image, [(132, 194), (240, 112), (348, 194)], (58, 62, 122))
    _polygon(image, [(290, 120), (308, 120), (308, 172), (290, 158)], (70, 76, 110))
    _polygon(image, [(222, 250), (262, 250), (262, 330), (222, 330)], (58, 74, 96))
    _disc(image, 256, 292, 2.5, (120, 200, 220))
    for x in (168, 276):
        _polygon(image, [(x, 222), (x + 38, 222), (x + 38, 262), (x, 262)], (128, 214, 252))
        _line(image, (x + 19, 222), (x + 19, 262), 2, (80, 96, 120))
        _line(image, (x, 242), (x + 38, 242), 2, (80, 96, 120))
    _polygon(image, [(222, 330), (262, 330), (310, _STREET), (190, _STREET)], (138, 150, 158))


def _garden(image: Picture) -> None:
    for x, y, size in ((60, 236, 46), (420, 250, 36), (600, 232, 52)):
        _line(image, (x, y + 20), (x, y + 90), 10, (40, 56, 74))
        for dx, dy, r in ((-0.5, 0.1, 0.62), (0.5, 0.15, 0.6), (0.0, -0.4, 0.7), (0.0, 0.2, 0.7)):
            shade = round(20 * dy)
            _disc(image, x + dx * size, y + dy * size, r * size, (52 - shade, 92 - shade, 58 - shade))
    for x in (*range(4, 190, 16), *range(322, WIDTH, 16)):
        _polygon(image, [(x, 352), (x + 4, 346), (x + 8, 352), (x + 8, 388), (x, 388)], (206, 212, 216))
    for y in (358, 376):
        _line(image, (0, y), (190, y), 3, (196, 202, 206))
        _line(image, (322, y), (WIDTH, y), 3, (196, 202, 206))


def walker(image: Picture, x: float, phase: float) -> None:
    """A person in a red coat on the pavement; `x` is the middle in pixels, `phase` steps in radians."""
    foot, hip, shoulder = 418.0, 366.0, 318.0
    cv2.ellipse(image, (round(x), round(foot)), (26, 5), 0, 0, 360, (48, 46, 46), -1, cv2.LINE_AA)
    for side, colour in ((0.0, (70, 44, 34)), (math.pi, (84, 54, 42))):
        swing = math.sin(phase + side) * 17
        knee = (x + swing * 0.6 + 3, (hip + foot) / 2)
        _line(image, (x, hip), knee, 11, colour)
        _line(image, knee, (x + swing, foot - max(0.0, math.cos(phase + side)) * 6), 9, colour)
    _polygon(
        image, [(x - 13, shoulder - 4), (x + 13, shoulder - 4), (x + 16, hip + 10), (x - 16, hip + 10)], (52, 48, 190)
    )
    swing = math.sin(phase) * 14
    _line(image, (x, shoulder + 2), (x - swing, hip - 4), 8, (40, 38, 160))
    _disc(image, x + 2, shoulder - 18, 12, (150, 182, 222))
    cv2.ellipse(image, (round(x), round(shoulder - 23)), (13, 9), 0, 180, 360, (36, 44, 60), -1, cv2.LINE_AA)


def car(image: Picture, x: float) -> None:
    """A blue car with its lights on, driving to the left; `x` is its middle in pixels."""
    y = 440.0
    cv2.ellipse(image, (round(x), round(y + 4)), (98, 8), 0, 0, 360, (40, 38, 38), -1, cv2.LINE_AA)
    _polygon(
        image, [(x - 92, y - 34), (x - 60, y - 42), (x + 88, y - 42), (x + 94, y - 8), (x - 94, y - 8)], (168, 102, 44)
    )
    _polygon(image, [(x - 56, y - 40), (x - 26, y - 72), (x + 46, y - 72), (x + 78, y - 40)], (150, 90, 38))
    _polygon(image, [(x - 44, y - 43), (x - 22, y - 66), (x + 6, y - 66), (x + 6, y - 43)], (214, 200, 170))
    _polygon(image, [(x + 13, y - 43), (x + 13, y - 66), (x + 42, y - 66), (x + 62, y - 43)], (214, 200, 170))
    for wheel in (x - 54, x + 54):
        _disc(image, wheel, y - 8, 17, (34, 32, 32))
        _disc(image, wheel, y - 8, 8, (150, 150, 152))
    _disc(image, x - 88, y - 26, 6, (200, 244, 255))
    _polygon(image, [(x + 86, y - 34), (x + 93, y - 34), (x + 94, y - 22), (x + 86, y - 22)], (40, 40, 214))
