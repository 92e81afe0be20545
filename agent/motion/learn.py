"""Learning from people: films they called good (something moved) or bad (nothing did), and the setting that fits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agent.errors import UsageError
from agent.motion import MotionSettings
from agent.motion.evaluate import judge
from agent.motion.rawclip import open_footage

LABELS = "labels.jsonl"


@dataclass(frozen=True, slots=True)
class Fit:
    """How many good films a sensitivity sees, and how many bad ones it leaves alone."""

    sensitivity: int
    good: int
    bad: int


def label(clip: Path, good: bool, folder: Path) -> Path:
    """Keep a copy of the film in the labelled set `folder`; a later label of the same name stands instead."""
    if not clip.is_file():
        raise UsageError(f"{clip}: no such film")
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / clip.name
    if kept.resolve() != clip.resolve():
        shutil.copyfile(clip, kept)
    with (folder / LABELS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"clip": clip.name, "good": good}) + "\n")
    return kept


def labels(folder: Path) -> dict[str, bool]:
    """Film names and whether they are good; raises UsageError for a folder or line that is none."""
    path = folder / LABELS
    if not path.is_file():
        raise UsageError(f"{path}: no labels there: give some with --label")
    found: dict[str, bool] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            one = json.loads(line)
            found[str(one["clip"])] = bool(one["good"])
        except (ValueError, TypeError, KeyError):
            raise UsageError(f"{path}:{number}: not a label: {line[:60]}") from None
    return found


def tune(folder: Path, settings: MotionSettings) -> list[Fit]:
    """How each sensitivity serves the labelled set, 1 to 10, at the live agent's analyses a second."""
    marked = labels(folder)
    rows = []
    for sensitivity in range(1, 11):
        seen = {name: _moves(folder / name, replace(settings, sensitivity=sensitivity)) for name in marked}
        good = sum(seen[n] for n, is_good in marked.items() if is_good)
        bad = sum(not seen[n] for n, is_good in marked.items() if not is_good)
        rows.append(Fit(sensitivity, good, bad))
    return rows


def best(rows: Sequence[Fit], now: int) -> Fit:
    """Most films right; of equals the one nearest to the present setting."""
    return max(rows, key=lambda r: (r.good + r.bad, -abs(r.sensitivity - now)))


def _moves(clip: Path, settings: MotionSettings) -> bool:
    footage = open_footage(clip)
    return any(one.decision.moving for one in judge(footage, footage.fps, settings, settings.analyses_per_s))


def edited(config: Path, camera: str, sensitivity: int) -> str:
    """The file with the number where `cameras.CAMERA.motion.sensitivity` stands, all else untouched.

    Raises UsageError where it does not, and OSError.
    """
    import yaml

    with config.open(encoding="utf-8", newline="") as file:  # the ends of its lines stay as they are
        text = file.read()
    node = yaml.compose(text, Loader=yaml.CSafeLoader)
    for key in ("cameras", camera, "motion", "sensitivity"):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for name, value in pairs if name.value == key), None)
    if node is None:
        where = f"cameras.{camera}.motion.sensitivity"
        raise UsageError(f"{config}: {where} does not stand there yet: add 'sensitivity: {sensitivity}'")
    return text[: node.start_mark.index] + str(sensitivity) + text[node.end_mark.index :]
