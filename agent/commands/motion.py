"""`camera-agent motion`: what moves in films."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent import exits
from agent.errors import UsageError

if TYPE_CHECKING:
    from agent.motion import MotionSettings

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("clips", nargs=-1)
@click.option("--decisions", type=FOLDER, help="Write CLIP.jsonl here: what was decided of each frame, and why.")
@click.option("--explain", type=FOLDER, help="Write CLIP.png here: pictures, boxes and the course of the decision.")
@click.option("--fps", type=click.FloatRange(0.1, 60), help="Analyses a second; all frames without it.")
@click.option("--sensitivity", type=click.IntRange(1, 10), default=5, show_default=True, help="10 sees the most.")
@click.option("--label", type=click.Choice(["good", "bad"]), help="Something moved in these films, or nothing did.")
@click.option("--set", "folder", type=FOLDER, default=Path("motion-labels"), show_default=True, help="Labelled films.")
@click.option("--tune", is_flag=True, help="Find the sensitivity that serves the labelled films best.")
@click.option("--write", nargs=2, metavar="CONFIG CAMERA", help="With --tune: write what was found into this file.")
@click.option("--bench", is_flag=True, help="Say what a look at a frame costs on this machine.")
def motion(
    clips: tuple[str, ...],
    decisions: Path | None,
    explain: Path | None,
    fps: float | None,
    sensitivity: int,
    label: str | None,
    folder: Path,
    tune: bool,
    write: tuple[str, str] | None,
    bench: bool,
) -> None:
    """What moves in films, decided exactly as a live agent does.

    CLIPS are video files or folders of JPEGs.
    """
    from agent.motion import MotionSettings

    if bench:
        from agent.motion.speed import speed

        for line in speed():
            click.echo(line)
    elif not clips and not tune:
        raise click.UsageError("which films? give files or folders of JPEGs, --tune or --bench")
    settings = MotionSettings(sensitivity=sensitivity)
    try:
        for clip in clips:
            if label:
                _label(clip, label, folder)
            else:
                _judge(clip, settings, fps, decisions, explain)
        if tune:
            _tune(folder, settings, write)
    except OSError as e:
        raise UsageError(f"{e.filename}: {e.strerror}", exits.CANNOT_WRITE) from None


def _judge(
    clip: str, settings: MotionSettings, fps: float | None, decisions: Path | None, explain: Path | None
) -> None:
    from agent.motion.evaluate import decide

    click.echo(decide(clip, settings, fps, decisions, explain), err=True)


def _label(clip: str, label: str, folder: Path) -> None:
    from agent.motion import learn

    click.echo(f"{learn.label(Path(clip), label == 'good', folder)}: {label}")


def _tune(folder: Path, settings: MotionSettings, write: tuple[str, str] | None) -> None:
    from agent import app
    from agent.motion import learn

    if write:
        app.load(Path(write[0]))  # what is wrong with the file is said before the films are looked at, which takes long
    marked = learn.labels(folder)
    good = sum(marked.values())
    rows = learn.tune(folder, settings)
    for row in rows:
        click.echo(
            f"sensitivity {row.sensitivity:2d}: {row.good}/{good} good seen, {row.bad}/{len(marked) - good} bad left"
        )
    found = learn.best(rows, settings.sensitivity)
    click.echo(f"best: {found.sensitivity} (now {settings.sensitivity})")
    if write:
        _write(Path(write[0]), write[1], found.sensitivity)
        click.echo(f"{write[0]}: cameras.{write[1]}.motion.sensitivity is {found.sensitivity}")


def _write(config: Path, camera: str, sensitivity: int) -> None:
    from agent.durable import rewrite
    from agent.motion import learn

    text = learn.edited(config, camera, sensitivity)
    try:
        rewrite(config, text)
    except OSError as e:
        what = f"write 'sensitivity: {sensitivity}' there yourself"
        raise UsageError(f"{config}: cannot be replaced ({e.strerror}); {what}", exits.CANNOT_WRITE) from None
