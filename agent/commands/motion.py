"""`camera-agent motion`: what moves in films."""

from __future__ import annotations

from pathlib import Path

import click

from agent import exits
from agent.commands.common import die
from agent.errors import AgentError, UsageError


@click.command()
@click.argument("clips", nargs=-1, required=True)
@click.option(
    "--decisions", type=click.Path(file_okay=False, path_type=Path), required=True, help="Write CLIP.jsonl here."
)
@click.option("--fps", type=click.FloatRange(0.1, 60), help="Analyses a second; all frames without it.")
@click.option("--sensitivity", type=click.IntRange(1, 10), default=5, show_default=True)
def motion(clips: tuple[str, ...], decisions: Path, fps: float | None, sensitivity: int) -> None:
    """What moves in video files or folders of JPEGs, decided exactly as a live agent does."""
    from agent.motion import MotionSettings
    from agent.motion.evaluate import decide

    settings = MotionSettings(sensitivity=sensitivity)
    try:
        decisions.mkdir(parents=True, exist_ok=True)
        for clip in clips:
            click.echo(decide(clip, settings, fps, decisions), err=True)
    except OSError as e:
        die(UsageError(f"{e.filename}: {e.strerror}", exits.CANNOT_WRITE))
    except AgentError as e:
        die(e)
