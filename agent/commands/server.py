"""`camera-agent server`: the camera server alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from agent.commands.common import announce, config_option, log_to_stderr, on_signals, run_async


@click.command()
@config_option("The configuration file.")
@click.option("--port", type=click.IntRange(0, 65535), help="Instead of the file's port.")
@click.option("--store", type=click.Path(file_okay=False), help="Instead of the file's store.")
def server(path: Path | None, port: int | None, store: str | None) -> None:
    """The camera server alone; agents stream to it."""
    from agent import hosted

    async def service() -> None:
        until = asyncio.Event()
        on_signals(until)
        settings = hosted.load(path, port, store)
        log_to_stderr(settings.log_level)
        await hosted.serve(settings.server, until, announce)

    log_to_stderr()
    run_async(service())
