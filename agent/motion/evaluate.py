"""What the detector says of a clip: the live agent's own path, frame by frame, written as one JSON object a line."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent import motion
from agent.frame import Codec, Decision, Frame
from agent.media import jpeg
from agent.motion.looks import Looks
from agent.motion.luma import luma
from agent.motion.rawclip import open_footage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent.motion import MotionSettings


@dataclass(frozen=True, slots=True)
class Judged:
    """One frame of a clip; `fresh` is False where the decision was inherited, `pixels` is (width, height)."""

    index: int
    decision: Decision
    fresh: bool
    pixels: tuple[int, int]


def judge(
    pictures: Iterable[bytes], clip_fps: float, settings: MotionSettings, per_s: float | None
) -> Iterator[Judged]:
    """The decision of each JPEG, `clip_fps` of them a second; a picture that does not decode inherits the last one."""
    detector = motion.create(settings)
    looks = Looks(per_s)
    last = Decision(moving=False, reason="learning")
    for index, data in enumerate(pictures):
        pts_s = index / clip_fps
        fresh = False
        pixels = (0, 0)
        try:
            info = jpeg.inspect(data)
            pixels = (info.width, info.height)
            frame = Frame(Codec.JPEG, data, True, round(pts_s * 1e9), 0, index)
            if looks.due(frame.pts_ns):
                last, fresh = detector.update(luma(frame), pts_s), True
                looks.found(frame.pts_ns, last.calm)
        except ValueError:
            pass
        yield Judged(index, last, fresh, pixels)


def record(one: Judged) -> dict[str, object]:
    """`frame`, `moving`, `score`, `reason` `held_back` as [reason, evidence, wanted], and, in the clip's pixels,
    `boxes` as [x, y, width, height]."""
    width, height = one.pixels
    d = one.decision
    boxes = [[round(b.x * width), round(b.y * height), round(b.w * width), round(b.h * height)] for b in d.boxes]
    return {
        "frame": one.index,
        "moving": d.moving,
        "score": round(d.score, 5),
        "reason": d.reason,
        "boxes": boxes if d.moving else [],
        "held_back": [[h.reason, h.evidence, h.wanted] for h in d.hidden],
    }


def decide(
    clip: str | Path, settings: MotionSettings, per_s: float | None, out: Path | None, pictures: Path | None
) -> str:
    """Judge a video file or folder of JPEGs and say in a line what came out.

    `per_s` is the number of analyses a second, None for every frame. `out`: folder for `NAME.jsonl`, whose last line
    holds `cpu_ms`, user and system time a frame, reading included; `pictures`: folder for `NAME.png`, which explains.
    Raises AgentError for what cannot be read, OSError for what cannot be written.
    """
    footage = open_footage(clip)
    name = Path(clip).resolve().stem
    started = time.process_time()
    frames = moving = looked = 0
    shown: list[Judged] = []
    with _lines(out, name) as write:
        for one in judge(footage, footage.fps, settings, per_s):
            frames += 1
            moving += one.decision.moving
            looked += one.fresh
            write(record(one))
            if pictures is not None:
                shown.append(one)
        cpu_ms = 1000 * (time.process_time() - started) / max(1, frames)
        write({"cpu_ms": round(cpu_ms, 3)})
    if pictures is not None:
        from agent.motion.explain import explain

        pictures.mkdir(parents=True, exist_ok=True)
        explain(pictures / f"{name}.png", footage, shown)
    return f"{clip}: {moving} of {frames} frames moving, {looked} looked at, {cpu_ms:.2f} ms CPU a frame"


@contextmanager
def _lines(folder: Path | None, name: str) -> Iterator[Callable[[dict[str, object]], object]]:
    """Writes objects to `folder/name.jsonl`, a line each; nowhere without a folder."""
    if folder is None:
        yield lambda _: None
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
        yield lambda line: file.write(json.dumps(line, separators=(",", ":")) + "\n")
