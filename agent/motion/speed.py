"""What a look at a frame costs on this machine, at several sizes, quiet and busy."""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2
import numpy as np

from agent.motion import MotionSettings, create
from agent.motion.luma import jpeg_luma

SIZES = ((320, 240), (640, 480), (1280, 720), (1920, 1080))
FRAMES = 120
FPS = 5.0


def speed() -> Iterator[str]:
    """A line for each size: ms of CPU a frame to decode, and to judge in a quiet and in a busy scene."""
    yield "size       decode  judge quiet  judge busy  (ms of CPU a frame)"
    for width, height in SIZES:
        still, walking = _film(width, height, busy=False), _film(width, height, busy=True)
        decode = min(_decode_ms(still) for _ in range(3))
        judge = [_judge_ms([jpeg_luma(j) for j in film]) for film in (still, walking)]
        yield f"{width}x{height:<5d}  {decode:6.2f}  {judge[0]:11.3f}  {judge[1]:10.3f}"


def _film(width: int, height: int, *, busy: bool) -> list[bytes]:
    rng = np.random.default_rng(1)
    coarse = rng.integers(40, 200, (24, 32, 3)).astype(np.uint8)
    still = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    films = []
    for i in range(24):
        picture = np.minimum(still, 240) + rng.integers(0, 6, still.shape).astype(np.uint8)
        if busy:
            for k in range(6):
                x = (i * width // 24 + k * width // 6) % width
                cv2.rectangle(picture, (x, height * k // 7), (x + width // 16, height * (k + 1) // 7), (20, 20, 20), -1)
        films.append(cv2.imencode(".jpg", picture)[1].tobytes())
    return films


def _decode_ms(film: list[bytes]) -> float:
    started = time.process_time()
    for data in film:
        jpeg_luma(data)
    return 1000 * (time.process_time() - started) / len(film)


def _judge_ms(planes: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]) -> float:
    detector = create(MotionSettings())
    for i in range(20):
        detector.update(planes[i % len(planes)], i / FPS)
    started = time.process_time()
    for i in range(20, 20 + FRAMES):
        detector.update(planes[i % len(planes)], i / FPS)
    return 1000 * (time.process_time() - started) / FRAMES
