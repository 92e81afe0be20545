"""`camera-agent dispatch`: one port for several protocols, to other processes; and what bytes would do there."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from pathlib import Path
from typing import BinaryIO

import click

from agent.commands.common import config_option, log_to_stderr, on_signals, run_async

FILE = config_option("The dispatch file.")


@click.group(invoke_without_command=True)
@FILE
@click.pass_context
def dispatch(ctx: click.Context, path: Path | None) -> None:
    """One port for several protocols, by their first bytes.

    It looks at a connection's first bytes and relays it, unchanged, to who speaks them.
    `dispatch.example.yaml` documents every option. SIGHUP reads the file again; running connections stay.
    """
    ctx.obj = path
    if ctx.invoked_subcommand is None:
        if path is None:
            raise click.UsageError("give -c FILE")
        log_to_stderr()
        run_async(_serve(path))


@dispatch.command()
@FILE
@click.option("--peer", default="", help="The client's address, where rules ask for it.")
@click.argument("file", type=click.File("rb"))
@click.pass_obj
def explain(given: Path | None, path: Path | None, peer: str, file: BinaryIO) -> None:
    """What the bytes of FILE would do, rule by rule.

    FILE - is standard input. Without -c: which protocol they are.
    """
    from agent.dispatch import peek
    from agent.portal.file import load
    from agent.portal.rules import EVERY_PROTOCOL

    data = file.read()
    if peer:
        try:
            ipaddress.ip_address(peer)
        except ValueError:
            raise click.BadParameter(f"'{peer}' is no address", param_hint="--peer") from None
    client, named = peek.Peer(peer), path or given
    if named is None:
        click.echo(peek.explain(EVERY_PROTOCOL, data, client))
        return
    s = load(named)
    click.echo(peek.explain(s.routes, data, client, proxy_from=s.proxy_from, cap_bytes=s.limits.peek_bytes))


async def _serve(path: Path) -> None:
    import signal

    from agent.portal.file import load
    from agent.portal.service import Portal
    from agent.systemd import Notifier

    settings = load(path)
    log_to_stderr(settings.log_level)
    until = asyncio.Event()
    on_signals(until)
    portal, notifier = Portal(path, settings), Notifier()
    try:
        for line in portal.start():
            click.echo(line)
        sys.stdout.flush()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, portal.reload)
        notifier.ready()
        await until.wait()
    finally:
        notifier.stopping()
        await portal.close()
