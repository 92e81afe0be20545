"""A film explained in one picture: a contact sheet with what was seen, and a plot of the score and the decisions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.motion.luma import picture

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.frame import Box, Decision
    from agent.motion.evaluate import Judged
    from agent.motion.planes import Plane

COLUMNS, ROWS = 6, 4
TILE = 240
PLOT_HEIGHT = 220
RED, GREEN, AMBER, GREY, WHITE = (60, 60, 230), (80, 200, 80), (40, 180, 240), (120, 120, 120), (255, 255, 255)


def explain(path: Path, pictures: Iterable[bytes], judged: Sequence[Judged]) -> None:
    """Write a PNG: red boxes moved, amber ones were held back (with the reason); below, the course of the film."""
    wanted = _chosen(judged)
    tiles = [
        _tile(data, judged[i])
        for i, data in enumerate(pictures)
        if i in wanted and i < len(judged) and judged[i].pixels[0]
    ]
    if not tiles:
        return
    height = max(t.shape[0] for t in tiles)
    sheet = np.zeros((height * -(-len(tiles) // COLUMNS), TILE * COLUMNS, 3), np.uint8)
    for n, tile in enumerate(tiles):
        y, x = n // COLUMNS * height, n % COLUMNS * TILE
        sheet[y : y + tile.shape[0], x : x + TILE] = tile
    if not cv2.imwrite(str(path), np.vstack([sheet, _plot([j.decision for j in judged])])):
        raise OSError(5, "the picture cannot be written", str(path))


def _chosen(judged: Sequence[Judged]) -> set[int]:
    """Frames evenly over the film, and those at which the decision changes first."""
    turns = [i for i in range(1, len(judged)) if judged[i].decision.moving != judged[i - 1].decision.moving]
    places = turns[: COLUMNS * ROWS // 2]
    rest = COLUMNS * ROWS - len(places)
    return {*places, *(round(k) for k in np.linspace(0, len(judged) - 1, rest))}


def _tile(data: bytes, one: Judged) -> Plane:
    try:
        whole = picture(data)
    except ValueError:
        return np.zeros((TILE * 3 // 4, TILE, 3), np.uint8)
    colour = whole if whole.ndim == 3 else cv2.cvtColor(whole, cv2.COLOR_GRAY2BGR)
    tile = cv2.resize(colour, (TILE, max(1, round(TILE * whole.shape[0] / whole.shape[1]))))
    for hidden in one.decision.hidden:
        x, y = _box(tile, hidden.box, AMBER)
        cv2.putText(tile, hidden.reason, (x, max(8, y - 2)), cv2.FONT_HERSHEY_PLAIN, 0.7, AMBER, 1)
    for box in one.decision.boxes if one.decision.moving else ():
        _box(tile, box, RED)
    colour_of = RED if one.decision.moving else GREEN
    cv2.putText(tile, f"{one.index} {one.decision.reason}", (3, 12), cv2.FONT_HERSHEY_PLAIN, 0.9, colour_of, 1)
    return np.asarray(tile, np.uint8)


def _box(tile: Plane, box: Box, colour: tuple[int, int, int]) -> tuple[int, int]:
    height, width = tile.shape[:2]
    x, y = round(box.x * width), round(box.y * height)
    cv2.rectangle(tile, (x, y), (round((box.x + box.w) * width), round((box.y + box.h) * height)), colour, 1)
    return x, y


def _plot(decisions: Sequence[Decision]) -> Plane:
    """Above: the share of the picture that moves; middle: evidence of what was held back, of that wanted (the line);
    below: the decision."""
    width = TILE * COLUMNS
    plot = np.full((PLOT_HEIGHT, width, 3), 24, np.uint8)
    n = len(decisions)
    scores = np.array([d.score if d.moving else 0.0 for d in decisions])
    held = np.array([max((h.evidence / h.wanted for h in d.hidden if h.wanted), default=0.0) for d in decisions])
    _curve(plot, scores / max(scores.max(initial=0), 1e-9), 15, 85, RED)
    _curve(plot, np.minimum(held, 2) / 2, 105, 175, AMBER)
    cv2.line(plot, (0, 140), (width, 140), GREY, 1)
    for i, d in enumerate(decisions):
        x0, x1 = i * width // n, max((i + 1) * width // n - 1, i * width // n)
        cv2.rectangle(plot, (x0, 190), (x1, 205), RED if d.moving else GREEN if d.reason == "still" else GREY, -1)
    for y, words in ((12, f"share of the picture that moves, at most {scores.max(initial=0):.2%}"),
                     (102, "evidence held back, of that wanted (line)"), (218, "decision")):  # fmt: skip
        cv2.putText(plot, words, (4, y), cv2.FONT_HERSHEY_PLAIN, 0.8, WHITE, 1)
    return plot


def _curve(plot: Plane, values: Plane, top: int, bottom: int, colour: tuple[int, int, int]) -> None:
    width = plot.shape[1]
    x = (np.arange(len(values)) + 0.5) * width / len(values)
    points = np.stack([x, bottom - values * (bottom - top)], axis=1).astype(np.int32)
    cv2.polylines(plot, [points], False, colour, 1, cv2.LINE_AA)
