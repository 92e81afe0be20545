"""A camera's password for a command that is typed: from a file, the environment or a prompt, rather than in the URL."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import click

from agent import exits
from agent.errors import UsageError

VARIABLE = "CAMERA_AGENT_PASSWORD"


def password_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--password-file`, whose value `with_password` takes."""
    return click.option(
        "--password-file",
        type=click.Path(dir_okay=False),
        help=f"First line: the camera's password, for a URL with a user only. Else ${VARIABLE}, else it is asked for.",
    )(command)


def with_password(source: str, file: str | None = None) -> str:
    """`scheme://user@host…` with the user's password put in; anything else as it is.

    Warns of a password that stands in the URL: everybody who lists processes on this machine sees it.
    """
    try:
        parts = urlsplit(source)
        username, given = parts.username, parts.password
    except ValueError:
        return source
    if given:
        click.echo(f"warning: a password in a URL is seen by who lists processes here; {VARIABLE} is not", err=True)
    if not username or given is not None:
        return source
    password = _password(username, parts.hostname or "", file)
    if not password:
        return source
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


def warn_of_secret(to: str) -> None:
    """A token or password in the URL of a sink is seen likewise."""
    try:
        given = urlsplit(to).password
    except ValueError:
        return
    if given:
        click.echo(
            "warning: a token or password in --to is seen by who lists processes here; -c FILE hides it", err=True
        )


def _password(username: str, host: str, file: str | None) -> str:
    if file is not None:
        try:
            with open(file, encoding="utf-8") as f:
                return f.readline().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as e:
            why = e.strerror if isinstance(e, OSError) else "not UTF-8 text"
            raise UsageError(f"--password-file {file}: {why}", exits.CONFIG) from None
    if VARIABLE in os.environ:
        return os.environ[VARIABLE]
    if sys.stdin.isatty():
        answer: str = click.prompt(f"password of {username} at {host}", hide_input=True, default="", show_default=False)
        return answer
    return ""
