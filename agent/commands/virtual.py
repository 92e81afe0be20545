"""`camera-agent virtual`: the server's virtual cameras."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from agent.commands.common import duration, run_async, server_file, size, store_option
from agent.errors import AgentError

json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


def quota_size(text: str) -> int:
    """`500MB`, `5GB`… as bytes, from 1 MiB on."""
    from agent.server.camera import LEAST_QUOTA, QUOTA_BELOW

    size_bytes = size(text)
    if not LEAST_QUOTA <= size_bytes < QUOTA_BELOW:
        raise click.BadParameter(
            f"'{text}' is {'less than 1MiB' if size_bytes < LEAST_QUOTA else 'more than any disk'}"
        )
    return size_bytes


def camera_address(text: str) -> str:
    """Of a camera on the network."""
    from agent.server.camera import without_login
    from agent.server.ingest.pull import source_of

    try:
        source_of(text)
    except AgentError as e:
        raise click.BadParameter(f"'{without_login(text)}': {str(e).removeprefix('pull: ')}") from None
    return text


@click.group()
def virtual() -> None:
    """Add, list, show and delete the server's virtual cameras."""


@virtual.command("add")
@click.argument("name")
@click.option("--ends", type=duration, metavar="TIME", help="It ends by itself after 45m, 24h, 7d…  [default: never]")
@click.option("--keep/--burn", default=False, help="Then its recordings stay, or everything is erased.  [burn]")
@click.option("--quota", type=quota_size, metavar="SIZE", help="Its recordings take at most 500MB, 5GB…")
@click.option("--events", type=click.Choice(["auto", "motion", "pause"]), default="auto", show_default=True)
@click.option(
    "--pull",
    type=camera_address,
    metavar="URL",
    help="The server fetches the camera's pictures from this address itself.",
)
@json_option
@server_file
@store_option
def virtual_add(
    name: str,
    ends: float | None,
    keep: bool,
    quota: int | None,
    events: str,
    pull: str | None,
    as_json: bool,
    path: Path | None,
    store: str | None,
) -> None:
    """Make a virtual camera and print all that its device needs.

    Its secrets are shown once.
    """
    from agent import hosted
    from agent.server.camera import CameraSettings

    async def work() -> Any:
        chosen = CameraSettings.of(
            ends_ns=time.time_ns() + round(ends * 1e9) if ends else None,
            at_end="keep" if keep else "burn",
            quota_bytes=quota,
            events=events,
            pull=pull,
        )
        async with hosted.opened(hosted.settings_of(path, store), make=True) as opened:
            return await opened.add(name, chosen), opened.runs

    made, runs = run_async(work())
    _say(made, runs, as_json)


@virtual.command("keys")
@click.argument("name")
@json_option
@server_file
@store_option
def virtual_keys(name: str, as_json: bool, path: Path | None, store: str | None) -> None:
    """Give a virtual camera new keys and print them.

    The old ones end at once.
    """
    from agent import hosted

    async def work() -> Any:
        async with hosted.opened(hosted.settings_of(path, store)) as opened:
            return await opened.renew(name), opened.runs

    made, runs = run_async(work())
    _say(made, runs, as_json)


def _say(made: dict[str, Any], runs: bool, as_json: bool) -> None:
    """All that a device needs, for people to copy and paste; `runs`: the server does."""
    if as_json:
        click.echo(json.dumps(made))
        return
    ftp = made["ftp"]
    rows = {
        "camera": made["name"],
        "token": f"{made['token']}   (shown only now, as all below)",
        "websocket": made["websocket_url"],
        "upload": f"{made['upload_url']}   user {made['login']}   password {made['password']}",
        "mjpeg": f"{made['mjpeg_url']}   (the same user and password)",
        "ftp": f"{ftp['host']} port {ftp['port']}   user {ftp['user']}   password {ftp['password']}" if ftp else "off",
        "pairing": f"{made['pairing']}   (ten minutes, once; ends the token above)",
        "view": f"{made['view_url']}   (for anybody, a day long, or until --ends)",
    }
    for word, text in rows.items():
        click.echo(f"{word:<10} {text}")
    click.echo("\nTo paste, whichever fits the device (ffmpeg sends a film at its own pace with -re before -i):")
    for text in made["lines"].values():
        click.echo(f"  {text}")
    if not runs:
        click.echo(
            "\nNo server runs on this store now; these work once `camera-agent server` does, with the same options."
        )


@virtual.command("list")
@json_option
@server_file
@store_option
def virtual_list(as_json: bool, path: Path | None, store: str | None) -> None:
    """The virtual cameras, a line each."""
    from agent import hosted

    async def work() -> list[dict[str, Any]]:
        async with hosted.opened(hosted.settings_of(path, store)) as opened:
            return [await opened.show(c.name) for c in opened.cameras.all()]

    cameras = run_async(work())
    if as_json:
        click.echo(json.dumps(cameras))
        return
    wide = max((len(camera["name"]) for camera in cameras), default=0)
    for camera in cameras:
        rest = [_left(camera["ends_ms"]) if camera["ends_ms"] else "", camera["pull_error"]]
        click.echo("   ".join([f"{camera['name']:<{wide}}", _stored(camera["stored"]), *filter(None, rest)]))


@virtual.command("show")
@click.argument("name")
@json_option
@server_file
@store_option
def virtual_show(name: str, as_json: bool, path: Path | None, store: str | None) -> None:
    """One virtual camera: its settings and what it has stored."""
    from agent import hosted

    async def work() -> dict[str, Any]:
        async with hosted.opened(hosted.settings_of(path, store)) as opened:
            return await opened.show(name)

    camera = run_async(work())
    if as_json:
        click.echo(json.dumps(camera))
        return
    rows = {
        "camera": camera["name"],
        "login": camera["login"] or "none",
        "ends": _left(camera["ends_ms"]).removeprefix("ends ") if camera["ends_ms"] else "never",
        "at end": camera["at_end"],
        "events by": camera["events"],
        "stored": _stored(camera["stored"]),
        "quota": _megabytes(camera["quota_bytes"]) if camera["quota_bytes"] else "none",
    }
    if camera["pull"]:
        rows["fetched"] = camera["pull"]
        if camera["pull_error"]:
            rows["trouble"] = camera["pull_error"]
    rows |= {w: f"{camera[k]:g} days" for w, k in (("kept", "retention_days"), ("stills", "stills_days")) if camera[k]}
    for word, text in rows.items():
        click.echo(f"{word:<10} {text}")


@virtual.command("delete")
@click.argument("name")
@server_file
@store_option
def virtual_delete(name: str, path: Path | None, store: str | None) -> None:
    """Erase a virtual camera with all that it recorded."""
    from agent import hosted

    async def work() -> None:
        async with hosted.opened(hosted.settings_of(path, store)) as opened:
            await opened.remove(name)

    run_async(work())
    click.echo(f"deleted  {name}")


def _left(ends_ms: float) -> str:
    left_s = ends_ms / 1000 - time.time()
    if left_s <= 0:
        return "ended"
    for unit_s, unit in ((3600, "h"), (60, "min")):
        if left_s >= 2 * unit_s:
            return f"ends in {left_s / unit_s:.0f} {unit}"
    return f"ends in {left_s:.0f} s"


def _stored(stored: dict[str, Any]) -> str:
    """What there is of it, and how long the room lasts at its pace."""
    text = f"{stored['events']} event{'s' * (stored['events'] != 1)}, {_megabytes(stored['bytes'])}"
    days = stored["days_left"]
    if days is None:
        return text
    return f"{text}, room for {'less than a day' if days < 1 else f'{days:.0f} days' if days < 730 else 'years'}"


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
