"""`camera-agent pair`: get an agent its token by a pairing code."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import ssl
import urllib.error
import urllib.request
from contextlib import suppress
from typing import Any, TextIO

import click

from agent import exits
from agent.commands.common import run_async
from agent.config import NAME
from agent.errors import UsageError
from agent.pins import PIN, Pinned
from agent.trust import distrusted

ROOM_BYTES = 4096  # more than any token


@click.command()
@click.argument("code_at_server")
@click.option(
    "--token-file",
    default="{camera}.token",
    show_default=True,
    help="Where the token is written (0600); {camera} is the camera's name.",
)
def pair(code_at_server: str, token_file: str) -> None:
    """Fetch a camera's token by its pairing code.

    CODE_AT_SERVER is CODE@http://server:8088, as `camera-agent virtual add` and the page print it, of a server that
    nobody certifies with its key at the end. The token is kept in a file, and the sink to paste is printed.
    """
    code, _, server = code_at_server.partition("@")
    base, _, pin = server.partition("#")
    base = base.rstrip("/")
    if not code or not base.startswith(("http://", "https://")) or (pin and not PIN.fullmatch(pin)):
        raise click.UsageError("expected CODE@http://server:port, as `virtual add` printed it")

    target = os.path.realpath(token_file)  # a link stays one
    part = f"{target}.part"
    try:
        if os.path.exists(target) and not os.path.isfile(target):
            raise FileExistsError(errno.EEXIST, "not a file")
        with open(part, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            _write(file, " " * ROOM_BYTES)  # before the code is used up: it is good for once
            paired = run_async(asyncio.to_thread(_ask, base, code, pin))
            _write(file, paired["token"] + "\n")
        os.replace(part, target.replace("{camera}", paired["name"]))
    except OSError as e:
        raise UsageError(f"{token_file}: {(e.strerror or str(e)).lower()}", exits.CANNOT_WRITE) from None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(part)
    name, url = paired["name"], base.replace("http", "ws", 1) + (f"#{pin}" if pin else "")
    click.echo(f"camera {name}; its token is in {token_file.replace('{camera}', name)}, and the one before is void.")
    click.echo("For the agent's file:\n")
    click.echo(f"cameras:\n  {name}:\n    source: {{type: …}}\nsinks:")
    click.echo(f"  - type: websocket\n    url: {url}\n    token_file: {os.path.abspath(token_file)}")


def _write(file: TextIO, text: str) -> None:
    """All that the file holds, for certain; where it held more, that needs no room."""
    file.seek(0)
    file.write(text)
    file.flush()
    file.truncate()
    os.fsync(file.fileno())


def _ask(base: str, word: str, pin: str) -> Any:
    body = json.dumps({"code": word}).encode()
    request = urllib.request.Request(base + "/v1/pair", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10, context=Pinned(pin) if pin else None) as answer:
            return _told(json.load(answer))
    except urllib.error.HTTPError as e:
        try:
            detail = str(json.load(e).get("detail", ""))
        except ValueError:
            detail = ""
        code = exits.PERMISSION if 400 <= e.code < 500 else exits.UNREACHABLE
        raise UsageError(f"{base}: {detail or e.reason}", code) from None
    except (OSError, ValueError) as e:
        raise UsageError(f"{base}: {_why(e)}", exits.UNREACHABLE) from None


def _told(answer: Any) -> dict[str, str]:
    """The camera's `name`, which may become part of a file's, and its `token`."""
    match answer:
        case {"name": str(name), "token": str(token)} if NAME.fullmatch(name):
            return {"name": name, "token": token}
    raise ValueError("answers with something else than a camera's token")


def _why(e: Exception) -> str:
    """The reason alone, without Python's number of it."""
    inner = getattr(e, "reason", e)
    if isinstance(inner, ssl.SSLCertVerificationError):
        return distrusted(inner)
    return str(getattr(inner, "strerror", None) or inner)
