"""`camera-agent snapshot`: one picture of a camera as a file."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import click

from agent import exits
from agent.commands.camera_password import password_option, with_password
from agent.commands.common import log_to_stderr, run_async
from agent.errors import UsageError


@click.command()
@click.argument("source", metavar="SOURCE")
@click.option("-o", "--output", required=True, help="The file to write; - for standard output.")
@click.option("--after", "after_s", type=click.FloatRange(0, 60), default=0.5, show_default=True, metavar="SECONDS")
@click.option(
    "--timeout", "limit_s", type=click.FloatRange(0.5, 600), default=15.0, show_default=True, metavar="SECONDS"
)
@password_option
def snapshot(source: str, output: str, after_s: float, limit_s: float, password_file: str | None) -> None:
    """Write one picture of SOURCE, as the camera coded it.

    SOURCE is what `watch` takes. The picture is taken --after so many seconds of pictures, because exposure takes its
    time to settle; without one after --timeout it is given up.
    """
    from agent import sources, trial
    from agent.media.size import size_of

    log_to_stderr("error")
    camera = sources.from_text(with_password(source, password_file))
    frame = run_async(trial.picture(camera, after_s, limit_s))
    data = trial.as_jpeg(frame)
    if output == "-":
        sys.stdout.buffer.write(data)
        return
    _write(Path(output), data)
    size = size_of(frame)
    click.echo(f"{output}: {f'{size[0]}x{size[1]}, ' if size else ''}{len(data) / 1000:.0f} kB", err=True)


def _write(path: Path, data: bytes) -> None:
    """A file whole or not at all; a link stays one, `/dev/null` what it is. Raises UsageError (exit 73)."""
    target = Path(os.path.realpath(path))
    part = target.with_name(f".snapshot-{os.getpid()}.part")  # no longer than the name may be
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(data)
        else:
            part.write_bytes(data)
            os.replace(part, target)
    except OSError as e:
        with suppress(OSError):
            part.unlink()
        raise UsageError(f"{path}: {(e.strerror or str(e)).lower()}", exits.CANNOT_WRITE) from None
