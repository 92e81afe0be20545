"""`camera-agent flush`: deliver what a stopped agent left."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from agent import exits
from agent.commands.camera_password import warn_of_secret
from agent.commands.common import config_option, configuration, duration, log_to_stderr, run_async


@click.command()
@config_option("The configuration file.")
@click.option("--to", help="Without a file: the camera server, as for `run`.")
@click.option("--name", default="camera", show_default=True, help="Without a file: the camera's name, as for `run`.")
@click.option("--for", "for_s", type=duration, default="10m", metavar="TIME", show_default=True, help="Then give up.")
def flush(path: Path | None, to: str | None, name: str, for_s: float) -> None:
    """Deliver what a stopped agent left in its spool, then end.

    Exit code 0 when nothing waits any more, 69 when something still does; it stays in the spool.
    """
    from agent import flush as work

    log_to_stderr("warning")
    if to:
        warn_of_secret(to)
    config = configuration(path, "demo" if to else None, to, name, instead="--to and --name")
    left = run_async(work.flush(config, for_s))
    if not left:
        click.echo("nothing waits: there is no spool of these cameras")
    for one in left:
        b = one.backlog
        done = one.before - b.waiting_items
        rest = f"{b.waiting_items} wait ({b.waiting_bytes / 1e6:.1f} MB)" if b.waiting_items else "nothing waits"
        why = f": {one.why}" if b.waiting_items and one.why else ""
        missing = "".join(f", {n} missing ({reason})" for reason, n in sorted(b.missing.items()))
        click.echo(f"{one.camera} → {one.sink}: {max(done, 0)} delivered, {rest}{missing}{why}")
    sys.exit(exits.UNREACHABLE if any(one.backlog.waiting_items for one in left) else exits.OK)
