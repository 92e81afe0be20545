"""Outlines that people draw on the picture, in shares 0..1 of its width and height."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TypeAlias

from agent.errors import ConfigError

Point: TypeAlias = tuple[float, float]
Polygon: TypeAlias = tuple[Point, ...]

MAX_POINTS = 64


def check(points: Sequence[Point], what: str) -> None:
    """Raises ConfigError, naming `what`, for an outline that has no clear inside within the picture."""
    if not 3 <= len(points) <= MAX_POINTS:
        raise ConfigError(f"{what}: an outline has 3 to {MAX_POINTS} points, not {len(points)}")
    for i, (x, y) in enumerate(points):
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise ConfigError(f"{what}: point {i + 1} [{x:g}, {y:g}] lies outside the picture (0 to 1)")
    edges = [(points[i], points[(i + 1) % len(points)]) for i in range(len(points))]
    for (i, a), (j, b) in combinations(enumerate(edges), 2):
        if a[0] == a[1]:
            raise ConfigError(f"{what}: point {i + 1} stands twice in a row")
        if (j - i) % len(edges) not in (1, len(edges) - 1) and _cross(*a, *b):
            raise ConfigError(f"{what}: the outline crosses itself (the sides after points {i + 1} and {j + 1})")
    if abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in edges)) < 1e-6:
        raise ConfigError(f"{what}: the outline encloses nothing")


def _side(a: Point, b: Point, c: Point) -> float:
    """Positive, negative or 0: on which side of the line a-b the point c lies."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the sides a-b and c-d share a point."""
    s1, s2, s3, s4 = _side(a, b, c), _side(a, b, d), _side(c, d, a), _side(c, d, b)
    if s1 * s2 < 0 and s3 * s4 < 0:
        return True
    touches = ((s1, a, b, c), (s2, a, b, d), (s3, c, d, a), (s4, c, d, b))
    return any(s == 0 and _within(p, q, r) for s, p, q, r in touches)


def _within(a: Point, b: Point, c: Point) -> bool:
    """Whether c, on the line a-b, lies between a and b."""
    return min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])
