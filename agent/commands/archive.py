"""`camera-agent archive`: is the store whole?"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from agent import exits
from agent.commands.common import run_async, server_file, store_option


@click.group()
def archive() -> None:
    """Check a camera server's store, or make its index anew."""


@archive.command()
@server_file
@store_option
@click.option("--ledger", "ledgers", multiple=True, type=click.Path(path_type=Path), help="What agents promised.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def fsck(path: Path | None, store: str | None, ledgers: tuple[Path, ...], as_json: bool) -> None:
    """Compare ledgers, index and files.

    Every file is read. Changes nothing, and a server may run meanwhile.

    A ledger has a line `item CAMERA SPOOL SEQ SHA256` for each item that an agent made durable
    (CAMERA_AGENT_LEDGER=FILE). Exit code 0 only if nothing is lost, doubled, torn or wrong.
    """
    from agent import hosted
    from agent.server import fsck as checking

    report = checking.check(hosted.settings_of(path, store).store_path, ledgers)
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        for name, value in report.as_json().items():
            if name != "findings":
                click.echo(f"{name:<10}{'yes' if value is True else 'no' if value is False else value}")
        for line in report.findings:
            click.echo(line, err=True)
    sys.exit(exits.OK if report.ok else exits.FAILURE)


@archive.command()
@server_file
@store_option
def rebuild(path: Path | None, store: str | None) -> None:
    """Make a store's lost index anew from its files.

    The server must not run.
    """
    from agent import hosted
    from agent.server.rebuild import rebuild as make

    done = run_async(make(hosted.settings_of(path, store).store_path))
    click.echo(f"{done.items} items of {done.cameras} cameras; {done.skipped} files skipped")
    click.echo("accounts, links and settings of cameras (--ends, --quota) are gone with the lost one")
    click.echo("agents need new tokens: camera-agent virtual keys NAME")
