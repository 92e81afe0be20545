"""`camera-agent status`: what running agents on this machine are doing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from agent import exits


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each agent, a line each.")
@click.option("--socket", type=click.Path(path_type=Path), help="Ask the agent at this control socket only.")
@click.option("--why", "because", is_flag=True, help="Also what was held back from being an event lately, and why.")
def status(as_json: bool, socket: Path | None, because: bool) -> None:
    """What the agents here capture, deliver and keep waiting.

    It says of what is away, why. Exit code 0 when every camera and sink is up, 69 when something is away or no agent
    answers.
    """
    from agent import control
    from agent import status as words

    found = []
    for path in [socket] if socket else control.agents():
        try:
            found.append(control.ask(path, "status"))
        except ConnectionError as e:
            if socket:
                click.echo(f"camera-agent: {e}", err=True)
    if not found and not socket:
        click.echo("camera-agent: no agent of yours is running here (a service's is seen by root)", err=True)
    for agent in found:
        click.echo(json.dumps(agent) if as_json else words.text(agent["cameras"], because=because))
    cameras = [c for agent in found for c in agent["cameras"]]
    well = all((c["up"] or c["ended"]) and all(s["up"] for s in c["sinks"]) for c in cameras)
    sys.exit(exits.OK if cameras and well else exits.UNREACHABLE)
