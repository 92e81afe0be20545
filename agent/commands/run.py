"""`camera-agent run`: the agent as a service."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import click

from agent.commands.camera_password import password_option, warn_of_secret, with_password
from agent.commands.common import announce, config_option, configuration, log_to_stderr, on_signals, run_async


@click.command()
@config_option("The configuration file.")
@click.option("--source", help="Without a file: the camera.")
@click.option("--to", help="Without a file: where to, ws://:TOKEN@host:port, http, ftp or a directory.")
@click.option("--name", default="camera", show_default=True, help="Without a file: the camera's name on the server.")
@password_option
def run(path: Path | None, source: str | None, to: str | None, name: str, password_file: str | None) -> None:
    """The agent as a service, on one or several cameras."""
    from agent import app

    async def service() -> None:
        agent = app.Agent(configuration(path, source, to, name))
        until = asyncio.Event()
        on_signals(until)
        try:
            for url in await agent.start_server():
                logging.getLogger("agent").info("the page is at %s", url)
            announce(agent.server)
            await agent.run(until)
        finally:
            for line in agent.waiting():
                logging.getLogger("agent").warning("%s; `%s` or the next start delivers them", line, flush)
            await agent.close()
        logging.getLogger("agent").info("stopped; everything is closed")

    log_to_stderr()
    flush = "camera-agent flush" + (f" -c {path}" if path else f" --to … --name {name}" if to else "")
    source = with_password(source, password_file) if source else None
    if to:
        warn_of_secret(to)
    run_async(service())
