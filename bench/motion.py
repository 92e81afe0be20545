"""The detector's CPU beside a frame difference, MOG2 at 160 wide and the 1:8 grey decode alone, in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from agent.motion import MotionSettings, create
from agent.motion.luma import jpeg_luma, picture
from agent.motion.rawclip import open_footage

CLIPS = Path(__file__).parents[1] / "tests/motion/clips"
FILMS = {"quiet": "street_exposure", "busy": "crossing_top"}
SIZE = (640, 480)
CHUNK = 20
EVICT_BYTES = 48 << 20
PAUSE_S = 0.05
LOOKS = 40
Look = Callable[[bytes], object]


def main() -> None:
    cv2.setNumThreads(1)
    for name, clip in FILMS.items():
        film = [_resized(data) for data in open_footage(CLIPS / f"{clip}.avi")]
        peers = {"decode": _decode, "difference": _difference(), "MOG2": _mog2(), "ours": _ours()}
        ms = _paired(film, peers)
        beside = ", ".join(f"{ms['ours'] / ms[peer]:.2f} x {peer}" for peer in peers if peer != "ours")
        print(f"{name} {SIZE[0]}x{SIZE[1]}: {ms['ours']:.3f} ms a frame, {beside}")
        decode_ms, judge_ms = _cold(film)
        print(f"  five a second with cold caches: decode {decode_ms:.2f} ms, judge {judge_ms:.2f} ms")


def _paired(film: list[bytes], peers: dict[str, Look]) -> dict[str, float]:
    """The median over chunks of each one's ms of CPU a frame."""
    took: dict[str, list[float]] = {name: [] for name in peers}
    for begin in range(0, len(film) - CHUNK + 1, CHUNK):
        for name, look in peers.items():
            started = time.process_time()
            for data in film[begin : begin + CHUNK]:
                look(data)
            took[name].append(1000 * (time.process_time() - started) / CHUNK)
    return {name: statistics.median(times[1:]) for name, times in took.items()}


def _cold(film: list[bytes]) -> tuple[float, float]:
    """Medians of CPU ms when the processor's caches hold something else before each look, as in a live agent."""
    detector, other = create(MotionSettings()), np.zeros(EVICT_BYTES, np.uint8)
    decode, judge = [], []
    for i, data in enumerate(film[:LOOKS]):
        time.sleep(PAUSE_S)
        other[::64] += 1
        started = time.thread_time()
        plane = jpeg_luma(data)
        decoded = time.thread_time()
        detector.update(plane, i / 5)
        decode.append(decoded - started)
        judge.append(time.thread_time() - decoded)
    return 1000 * statistics.median(decode), 1000 * statistics.median(judge)


def _resized(data: bytes) -> bytes:
    image = cv2.resize(picture(data), SIZE, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def _decode(data: bytes) -> object:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)


def _ours() -> Look:
    detector, times = create(MotionSettings()), iter(range(1 << 30))
    return lambda data: detector.update(jpeg_luma(data), next(times) / 10)


def _difference() -> Look:
    """Grey at 320 wide, blurred, against the last one; what is left after a threshold, grown, as outlines."""
    last = np.zeros((0, 0), np.uint8)

    def look(data: bytes) -> object:
        nonlocal last
        grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        small = cv2.GaussianBlur(cv2.resize(grey, (320, 240), interpolation=cv2.INTER_AREA), (5, 5), 0)
        before, last = last, np.asarray(small, np.uint8)
        if before.shape != last.shape:
            return None
        mask = cv2.threshold(cv2.absdiff(last, before), 25, 255, cv2.THRESH_BINARY)[1]
        grown = cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=2)
        return cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)

    return look


def _mog2() -> Look:
    """Colour at 160 wide, opened and grown, as outlines."""
    model = cv2.createBackgroundSubtractorMOG2(150, 40, True)

    def look(data: bytes) -> object:
        colour = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        mask = model.apply(cv2.resize(colour, (160, 120), interpolation=cv2.INTER_AREA))
        opened = cv2.morphologyEx(cv2.threshold(mask, 250, 255, 0)[1], cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        grown = cv2.dilate(opened, np.ones((3, 3), np.uint8))
        return cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)

    return look
