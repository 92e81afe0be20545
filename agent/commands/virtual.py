"""`camera-agent virtual`: the server's virtual cameras."""

from __future__ import annotations

from pathlib import Path

import click

from agent.commands.common import run_async


@click.group()
def virtual() -> None:
    """The server's virtual cameras."""


store_option = click.option(
    "--store", type=click.Path(file_okay=False), help="The server's store.  [default: as `server`]"
)
config_option = click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="The server's file.")


@virtual.command("add")
@click.argument("name")
@config_option
@store_option
def virtual_add(name: str, path: Path | None, store: str | None) -> None:
    """Make a virtual camera and print what its agent needs; the token is shown once."""
    from agent import hosted

    async def work() -> tuple[str, int]:
        settings = hosted.load(path, None, store).server
        return await hosted.add(settings, name), settings.port

    token, port = run_async(work())
    click.echo(f"camera   {name}")
    click.echo(f"token    {token}   (shown only now)")
    click.echo(f"agent    camera-agent run --source SOURCE --name {name} --to ws://:{token}@SERVER:{port}")


@virtual.command("list")
@config_option
@store_option
def virtual_list(path: Path | None, store: str | None) -> None:
    """The virtual cameras, a line each."""
    from agent import hosted

    async def work() -> list[str]:
        return await hosted.names(hosted.load(path, None, store).server)

    for name in run_async(work()):
        click.echo(name)


@virtual.command("delete")
@click.argument("name")
@config_option
@store_option
def virtual_delete(name: str, path: Path | None, store: str | None) -> None:
    """Erase a virtual camera with all that it recorded."""
    from agent import hosted

    async def work() -> None:
        await hosted.remove(hosted.load(path, None, store).server, name)

    run_async(work())
    click.echo(f"deleted  {name}")
