"""`camera-agent check`: the configuration and what it connects to."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from agent import exits
from agent.commands.camera_password import password_option, with_password
from agent.commands.common import config_option, configuration, log_to_stderr, run_async


@click.command()
@config_option("The configuration file.")
@click.option("--source", help="Without a file: the camera.")
@click.option("--to", help="Without a file: the camera server.")
@click.option("--name", default="camera", help="Without a file: the camera's name on the server.")
@click.option("--offline", is_flag=True, help="Stop after reading the file.")
@password_option
def check(
    path: Path | None, source: str | None, to: str | None, name: str, offline: bool, password_file: str | None
) -> None:
    """Read the configuration, then connect everything in it once."""
    from agent.check import check_all
    from agent.console import count

    async def work() -> int:
        settings = configuration(path, source, to, name)
        log_to_stderr("error")  # the file's level is for `run`: here each camera has its line
        if offline:
            found = [count(len(settings.cameras), "camera"), count(len(settings.sinks), "sink")]
            click.echo("ok    " + ", ".join([*found, *(["a server"] if settings.server else [])]))
            return exits.OK
        return await check_all(settings, click.echo)

    log_to_stderr("error")
    source = with_password(source, password_file) if source else None
    sys.exit(run_async(work()))
