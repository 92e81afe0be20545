"""Webcams: the kernel's video nodes, and their formats as the drivers tell them (linux/videodev2.h)."""

from __future__ import annotations

import asyncio
import fcntl
import glob
import json
import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.discover import Found
from agent.sources.webcam import stable_path

_CAPABILITY = struct.Struct("=16s32s32s3I12x")
_FORMAT = struct.Struct("=3I32s4s16x")
_SIZE = struct.Struct("=I4sI6I8x")
_INTERVAL = struct.Struct("=I4sIII6I8x")
_QUERYCAP, _ENUM_FMT, _ENUM_SIZES, _ENUM_INTERVALS = 0x80685600, 0xC0405602, 0xC02C564A, 0xC034564B
_CAPTURE, _CAPTURE_MPLANE, _DEVICE_CAPS = 1, 0x1000, 0x80000000
_DISCRETE = 1
_MANY = 64
_PLAIN = re.compile(r"[A-Za-z0-9_./:+-]+")
_PI_PIPELINE = re.compile(r"unicam|bcm2835|rp1-cfe|pispbe|rpi-|codec|\bisp\b", re.I)
"""Nodes of a Pi's own camera: libcamera drives them."""


@dataclass(frozen=True, slots=True)
class Format:
    """A pixel format (`MJPG`, `YUYV`), its sizes and the highest rate of each where the driver tells it."""

    code: str
    sizes: tuple[tuple[int, int, float], ...]

    def __str__(self) -> str:
        if not self.sizes:
            return self.code
        width, height, fps = max(self.sizes, key=lambda s: (s[0] * s[1], s[2]))
        rate = f" at {fps:g}" if fps else ""
        return f"{self.code} up to {width}x{height}{rate}"


@dataclass(frozen=True, slots=True)
class Node:
    """A video node that gives pictures."""

    path: str
    card: str
    driver: str
    bus: str
    formats: tuple[Format, ...]


def nodes(pattern: str = "/dev/video*") -> list[Node]:
    """Those that can capture and have a format, by number; a node that this user may not open is left out."""
    paths = sorted(glob.glob(pattern), key=lambda p: (len(p), p))
    return [n for n in map(_node, paths) if n is not None and n.formats and not _PI_PIPELINE.search(n.driver)]


async def find(limit_s: float) -> list[Found]:
    """Webcams; a driver that hangs is not waited for."""
    async with asyncio.timeout(limit_s):
        return await asyncio.to_thread(attached)


def attached() -> list[Found]:
    """The same, blocking for as long as the drivers do."""
    return [_found(n) for n in nodes()]


def _found(node: Node) -> Found:
    path = stable_path(node.path)
    path = path if _PLAIN.fullmatch(path) else json.dumps(path)
    return Found(
        "webcam",
        node.card,
        node.path,
        "; ".join(str(f) for f in node.formats),
        f"{{type: webcam, device: {path}}}",
    )


def _node(path: str) -> Node | None:
    try:
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return _ask(path, lambda code, data: fcntl.ioctl(fd, code, data))
    except OSError:
        return None
    finally:
        os.close(fd)


def _ask(path: str, ioctl: Callable[[int, bytes], bytes]) -> Node:
    driver, card, bus, _, can, device_can = _CAPABILITY.unpack(ioctl(_QUERYCAP, bytes(_CAPABILITY.size)))
    can = device_can if can & _DEVICE_CAPS else can
    kind = 1 if can & _CAPTURE else 9 if can & _CAPTURE_MPLANE else 0
    formats = tuple(_formats(kind, ioctl)) if kind else ()
    return Node(path, _text(card), _text(driver), _text(bus), formats)


def _formats(kind: int, ioctl: Callable[[int, bytes], bytes]) -> Iterator[Format]:
    for i in range(_MANY):
        try:
            answer = _FORMAT.unpack(ioctl(_ENUM_FMT, _FORMAT.pack(i, kind, 0, b"", b"\0\0\0\0")))
        except OSError:
            return
        code: bytes = answer[4]
        yield Format(_text(code), tuple(_sizes(code, ioctl)))


def _sizes(code: bytes, ioctl: Callable[[int, bytes], bytes]) -> Iterator[tuple[int, int, float]]:
    for i in range(_MANY):
        try:
            answer = _SIZE.unpack(ioctl(_ENUM_SIZES, _SIZE.pack(i, code, 0, *(0,) * 6)))
        except OSError:
            return
        # Discrete: width, height. Stepwise and continuous: the largest stands second and fifth.
        width, height = (answer[3], answer[4]) if answer[2] == _DISCRETE else (answer[4], answer[7])
        yield width, height, _rate(code, width, height, ioctl)
        if answer[2] != _DISCRETE:
            return


def _rate(code: bytes, width: int, height: int, ioctl: Callable[[int, bytes], bytes]) -> float:
    """The highest frame rate: the shortest interval, which stands first in both shapes of the answer."""
    best = 0.0
    for i in range(_MANY):
        try:
            answer = _INTERVAL.unpack(ioctl(_ENUM_INTERVALS, _INTERVAL.pack(i, code, width, height, 0, *(0,) * 6)))
        except OSError:
            break
        seconds, parts = answer[5], answer[6]
        best = max(best, parts / seconds if seconds else 0.0)
        if answer[4] != _DISCRETE:
            break
    return round(best, 3)


def _text(data: bytes) -> str:
    text = data.split(b"\0", 1)[0].decode("utf-8", "replace").strip()
    return "".join(c if c.isprintable() else "?" for c in text)
