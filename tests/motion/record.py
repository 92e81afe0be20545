"""Writes docs/motion.md: what the detector scores on the films and the made scenes. `python -m tests.motion.record`."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.motion import composites, scenes
from tests.motion.scoring import Score, score
from tests.motion.test_regression import PROJECT, SHARED

SEEDS = (17, 34)
HEAD = """# What the motion detector scores

Written by `python -m tests.motion.record`; default settings, the code path of the live agent. How the detector works
and where it fails: docs/design/motion.md.
"""
COLUMNS = (
    "| {} | precision | recall | F1 | F1 of mixed films | false-positive rate | events in 1 s / late / missed "
    "| false events | boxes: hit / IoU / misplaced |"
)


def main() -> None:
    parts = [HEAD]
    if (SHARED / "data/motion").exists():
        parts += _development()
    parts += [
        "",
        "## Made scenes",
        "",
        f"`tests/motion/scenes.py`, {len(SEEDS)} seeds each; means. The numbers were chosen with these in view.",
        "",
        *_made(scenes.SCENES),
        "",
        "## Made scenes of another kind",
        "",
        f"`tests/motion/composites.py`, {len(SEEDS)} seeds each; means.",
        "",
        *_made(composites.COMPOSITES),
        "",
        "Three films come with the project (`tests/motion/clips/README.md`).",
        "",
    ]
    (PROJECT / "docs/motion.md").write_text("\n".join(parts))


def _development() -> list[str]:
    lines = ["## Development films (16, labelled)", "", COLUMNS.format("analyses"), "|---|" + "---|" * 8]
    per_film: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, more in (("all frames", []), ("5 a second", ["--fps", "5"])):
            films = map(str, sorted((SHARED / "data/motion").glob("*.avi")))
            run = [sys.executable, "-m", "agent.cli", "motion", *films, "--decisions", f"{folder}/{name}", *more]
            subprocess.run(run, check=True, capture_output=True)
            scorer = [sys.executable, str(SHARED / "tools/motion_eval.py"), str(SHARED / "data/motion")]
            subprocess.run(
                [*scorer, f"{folder}/{name}", "--json", f"{folder}/out.json"], check=True, capture_output=True
            )
            result = json.loads(Path(f"{folder}/out.json").read_text())[name]
            per_film = per_film or result["clips"]
            s = result["summary"]
            lines.append(
                f"| {name} | {s['precision']:.3f} | {s['recall']:.3f} | {s['f1']:.3f} | {s['f1_mixed']:.3f} "
                f"| {s['fpr']:.3f} "
                f"| {s['caught']} / {s['late']} / {s['missed']} | {s['false_events']} "
                f"| {s['loc_hit']:.2f} / {s['loc_iou']:.2f} / {s['misplaced']:.2f} |"
            )
    without = [_f1([c for c in per_film if c is not left]) for left in per_film]
    lines += ["", f"Leaving one scene out of the mean, F1 lies between {min(without):.3f} and {max(without):.3f}.", ""]
    lines += ["| film | F1 | false-positive rate |", "|---|---|---|"]
    for c in per_film:
        got = Score(c["tp"], c["fp"], c["fn"], c["tn"], c["caught"], c["late"], c["missed"])
        lines.append(f"| {c['clip']} | {_say(got.f1)} | {_say(got.fpr)} |")
    return lines


def _say(figure: float) -> str:
    return "-" if math.isnan(figure) else f"{figure:.3f}"


def _f1(films: list[dict[str, Any]]) -> float:
    """Every film weighs the same, as the scorer has it."""
    tp, fp, fn = (sum(c[k] / c["scored"] for c in films) for k in ("tp", "fp", "fn"))
    return float(2 * tp / (2 * tp + fp + fn))


def _made(films: dict[str, Callable[[int], scenes.Scene]]) -> list[str]:
    lines = ["| scene | F1 | false-positive rate | events in 1 s / late / missed |", "|---|---|---|---|"]
    for name, make in films.items():
        got = []
        for seed in SEEDS:
            scene = make(seed)
            jpegs, boxes = scene.films()
            got.append(score(jpegs, scenes.labels(name, boxes, scene.fps)))
        f1, fpr = (statistics.fmean(getattr(g, k) for g in got) for k in ("f1", "fpr"))
        caught, late, missed = (sum(getattr(g, k) for g in got) for k in ("caught", "late", "missed"))
        lines.append(f"| {name} | {_say(f1)} | {_say(fpr)} | {caught} / {late} / {missed} |")
    return lines


if __name__ == "__main__":
    main()
