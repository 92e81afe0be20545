"""`camera-agent password`: the way back for who forgot the password of the server's page."""

from __future__ import annotations

from pathlib import Path

import click

from agent.commands.common import run_async, server_file, store_option


@click.command()
@click.argument("name", default="")
@server_file
@store_option
def password(name: str, path: Path | None, store: str | None) -> None:
    """A one-time link that sets a new password for the server's page.

    The owner's, or that of the account NAME. On the server's machine, by who may write its store.
    """
    from agent import hosted

    async def work() -> tuple[str, str]:
        async with hosted.opened(hosted.settings_of(path, store)) as opened:
            return await opened.forgot(name)

    who, link = run_async(work())
    click.echo(f"new password for {who}: {link}   (opens once, within an hour)")
