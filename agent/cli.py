"""The command line: a table of commands; a command's file is loaded when it is called."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Any

import click

from agent import __version__
from agent.errors import AgentError
from agent.memory import no_types_of_files

EPILOG = (
    "Exit codes: 0 ok, 1 unexpected, 2 usage, 66 no such camera, 69 unreachable, 73 cannot write, "
    "75 taken by another program, 77 refused, 78 configuration."
)
COMMANDS = (
    "watch",
    "run",
    "cameras",
    "snapshot",
    "check",
    "status",
    "flush",
    "pair",
    "server",
    "virtual",
    "password",
    "archive",
    "motion",
    "simulate",
    "dispatch",
)
"""In the order of the help; each is `agent/commands/NAME.py` with a click command of that name."""


class Commands(click.Group):
    """Loads the command that is asked for, or suggests the one that was meant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"agent.commands.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """An expected error is one line and its exit code, wherever in a command it is raised."""
        try:
            return super().invoke(ctx)
        except AgentError as e:
            from agent.commands.common import die

            die(e)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as e:
            import difflib  # only mistakes need it

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f" Did you mean '{near[0]}'?" if near and "Did you mean" not in e.message else ""
            raise click.UsageError(e.message + hint, ctx) from None


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="camera-agent")
def main() -> None:
    """Watch a camera, decide what moves, send just that.

    \b
    camera-agent watch                                     the first camera, or the demo scene
    camera-agent watch http://user:password@cam/video.cgi  an IP camera, for an hour
    camera-agent run -c config.yaml                        as a service
    camera-agent server -c server.yaml                     the camera server alone
    """
    _open_what_is_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an arrow where letters are Latin-1 is no reason to end
    no_types_of_files()


def _open_what_is_closed() -> None:
    """Of the descriptors 0, 1 and 2: what is opened next would have that number, and be written to as if it were it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


if __name__ == "__main__":
    main()
