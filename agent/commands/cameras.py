"""`camera-agent cameras`: what is attached and on the network."""

from __future__ import annotations

import dataclasses
import json
import sys

import click

from agent import exits
from agent.commands.common import log_to_stderr, run_async


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a camera.")
@click.option("--seconds", type=click.FloatRange(0.1, 30), default=3.0, show_default=True, help="Look for so long.")
def cameras(as_json: bool, seconds: float) -> None:
    """List the cameras of this machine and of its network.

    On the network those are found that answer to UPnP, ONVIF or mDNS. The last column is the line for `source:` in the
    configuration; CAPITALS have to be filled in.
    """
    from agent.discover import Found, find

    log_to_stderr("warning")
    found: list[Found] = run_async(find(seconds))
    if as_json:
        for camera in found:
            click.echo(json.dumps(dataclasses.asdict(camera), ensure_ascii=False))
    elif found:
        rows = [(f.way, f.name, f.where, f.what, f.yaml) for f in found]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        for row in rows:
            click.echo("  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), f"source: {row[4]}"]))
    else:
        click.echo("no camera found: none attached, and none answered on the network", err=True)
    sys.exit(exits.OK if found else exits.NO_CAMERA)
