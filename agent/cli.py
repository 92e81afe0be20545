"""The commands; each imports what it needs when it runs."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click

from agent import __version__, exits
from agent.errors import AgentError, ConfigError, PermanentError, UsageError

EPILOG = "Exit codes: 0 ok, 2 usage, 66 no such camera, 69 unreachable, 73 cannot write, 77 refused, 78 configuration."


class Commands(click.Group):
    """Suggests the command that was meant."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as e:
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            hint = f" Did you mean '{near[0]}'?" if near and "Did you mean" not in e.message else ""
            raise click.UsageError(e.message + hint, ctx) from None


def duration(text: str) -> float:
    """`90`, `45s`, `30m`, `8h`, `1h30m` or `2d` as seconds."""
    match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip().lower())
    if not match or not any(match.groups()):
        raise click.BadParameter(f"'{text}' is no duration (45s, 30m, 8h, 1h30m, 2d)")
    d, h, m, s = (float(g or 0) for g in match.groups())
    seconds = ((d * 24 + h) * 60 + m) * 60 + s
    if seconds <= 0:
        raise click.BadParameter(f"'{text}' is no time at all")
    return seconds


def log_to_stderr(level: str = "info") -> None:
    """Plain lines on stderr; journald gets priorities instead of times."""
    journal = "JOURNAL_STREAM" in os.environ

    class Line(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            text = super().format(record)
            if not journal:
                return text
            priority = {10: 7, 20: 6, 30: 4, 40: 3, 50: 2}.get(record.levelno, 6)
            return f"<{priority}>{text}"

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Line("%(message)s" if journal else "%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("aiohttp").setLevel(logging.ERROR)


def die(e: AgentError) -> None:
    """One line (or a file's errors) on stderr and the right exit code."""
    code = exits.UNREACHABLE
    if isinstance(e, ConfigError):
        code = exits.CONFIG
    elif isinstance(e, UsageError | PermanentError):
        code = e.exit_code
    click.echo(str(e) if isinstance(e, ConfigError) else f"camera-agent: {e}", err=True)
    sys.exit(code)


def expected(e: BaseException) -> AgentError | None:
    """The first expected error inside a task group's exception, or None for a bug."""
    if isinstance(e, AgentError):
        return e
    if isinstance(e, BaseExceptionGroup):
        found = [expected(x) for x in e.exceptions]
        return found[0] if found and all(found) else None
    return None


def run_async(main: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(main)
    except KeyboardInterrupt:
        sys.exit(exits.OK)
    except BaseException as e:
        if (known := expected(e)) is None:
            raise
        die(known)


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


@main.command()
@click.argument("source", default="")
@click.option(
    "--for", "for_s", type=duration, metavar="TIME", default="1h", show_default=True, help="How long: 45s, 30m, 8h."
)
@click.option("--keep", type=click.Path(file_okay=False), help="Keep the recordings in this directory.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object (CloudEvents) a line on stdout.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the page; 0 for any free one.  [default: 8088]")
@click.option("--local", is_flag=True, help="Serve this machine only, not the LAN.")
@click.option("--sensitivity", type=click.IntRange(1, 10), default=5, show_default=True)
@click.option("--no-motion", is_flag=True, help="Live view only; record nothing.")
def watch(
    source: str,
    for_s: float,
    keep: str | None,
    as_json: bool,
    port: int | None,
    local: bool,
    sensitivity: int,
    no_motion: bool,
) -> None:
    """One-shot surveillance with a page to look at; nothing is left behind unless --keep says so.

    SOURCE: demo, a video file or folder of JPEGs, http://user:password@host/video.cgi,
    dcs920://user:password@host[:port], or a webcam number. Without one: the first camera found, else the demo scene.
    """
    log_to_stderr("warning")
    from agent.motion import MotionSettings
    from agent.watch import Watch, WatchOptions

    async def session() -> None:
        motion = MotionSettings(enabled=not no_motion, sensitivity=sensitivity)
        options = WatchOptions(
            source=source, for_s=for_s, keep=keep, json=as_json, port=port, local=local, motion=motion
        )
        await Watch(options).run()

    run_async(session())


@main.command()
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="The configuration file.")
@click.option("--source", help="Without a file: the camera.")
@click.option("--to", help="Without a file: the camera server, ws://:TOKEN@host:port.")
@click.option("--name", default="camera", show_default=True, help="Without a file: the camera's name on the server.")
def run(path: Path | None, source: str | None, to: str | None, name: str) -> None:
    """The agent as a service, on one or several cameras."""
    from agent import app

    async def service() -> None:
        agent = app.Agent(configuration(path, source, to, name))
        until = asyncio.Event()
        on_signals(until)
        try:
            for url in await agent.start_server():
                logging.getLogger("agent").info("the page is at %s", url)
            announce(agent.server)
            await agent.run(until)
        finally:
            await agent.close()

    log_to_stderr()
    run_async(service())


def configuration(path: Path | None, source: str | None, to: str | None, name: str) -> Any:
    """What `run` and `check` shall work on; logging is set by it."""
    from agent import app

    if source or to:
        if path or not (source and to):
            raise click.UsageError("give either -c FILE, or --source and --to together")
        return app.quick(source, to, name)
    settings = app.load(path or default_config())
    log_to_stderr(settings.log_level)
    return settings


def default_config() -> Path:
    """$CAMERA_AGENT_CONFIG, else the user's, else the system's file."""
    if env := os.environ.get("CAMERA_AGENT_CONFIG"):
        return Path(env)
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    user = Path(home) / "camera-agent" / "config.yaml"
    return user if user.exists() else Path("/etc/camera-agent/config.yaml")


def on_signals(until: asyncio.Event) -> None:
    import signal

    for s in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(s, until.set)


def announce(server: Any) -> None:
    """The one-time set-up link, as long as the server has no owner."""
    if server is not None and (link := server.setup_link()):
        click.echo(f"set up: {link}   (opens once; makes you the owner)", err=True)


@main.command()
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="The configuration file.")
@click.option("--port", type=click.IntRange(0, 65535), help="Instead of the file's port.")
@click.option("--store", type=click.Path(file_okay=False), help="Instead of the file's store.")
def server(path: Path | None, port: int | None, store: str | None) -> None:
    """The camera server alone; agents stream to it."""
    from agent import hosted

    async def service() -> None:
        until = asyncio.Event()
        on_signals(until)
        settings = hosted.load(path, port, store)
        log_to_stderr(settings.log_level)
        await hosted.serve(settings.server, until, announce)

    log_to_stderr()
    run_async(service())


@main.group()
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


@main.command()
@click.argument("clip")
@click.option("--port", type=click.IntRange(0, 65535), default=8920, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--fps", type=click.FloatRange(0.1, 240), help="Instead of the clip's own pace.")
@click.option("--user", help="Ask for this user.")
@click.option("--password", default="", help="And this password.")
@click.option("--once", is_flag=True, help="Play once and end the stream, instead of in a loop.")
@click.option("--fault", "faults", multiple=True, metavar="FAULT[=X][@N[+M]]", help="Misbehave; may be repeated.")
@click.option("--stamp", is_flag=True, help="Put the time into a JPEG comment of each picture.")
def simulate(
    clip: str,
    port: int,
    host: str,
    fps: float | None,
    user: str | None,
    password: str,
    once: bool,
    faults: tuple[str, ...],
    stamp: bool,
) -> None:
    """A fake DCS-920 that plays CLIP (AVI, MP4, MKV, or a folder of JPEGs) and misbehaves on demand."""
    from agent.media.footage import open_footage
    from agent.simulate import SimulatedCamera, parse_fault

    async def service() -> None:
        misbehaviour = [parse_fault(f) for f in faults]
        until = asyncio.Event()
        on_signals(until)
        camera = SimulatedCamera(
            open_footage(clip, fps),
            fps=fps,
            username=user,
            password=password,
            faults=misbehaviour,
            loop=not once,
            stamp=stamp,
        )
        bound = await camera.start(host, port)
        click.echo(f"camera   http://{host}:{bound}/video.cgi", err=True)
        try:
            await until.wait()
        finally:
            await camera.close()

    log_to_stderr()
    run_async(service())


@main.command()
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="The configuration file.")
@click.option("--source", help="Without a file: the camera.")
@click.option("--to", help="Without a file: the camera server.")
@click.option("--name", default="camera", help="Without a file: the camera's name on the server.")
@click.option("--offline", is_flag=True, help="Stop after reading the file.")
def check(path: Path | None, source: str | None, to: str | None, name: str, offline: bool) -> None:
    """Read the configuration, then really connect each camera and sink once."""
    from agent.check import check_all

    async def work() -> int:
        settings = configuration(path, source, to, name)
        if offline:
            click.echo(f"ok    {len(settings.cameras)} cameras, {len(settings.sinks)} sinks")
            return exits.OK
        return await check_all(settings, click.echo)

    log_to_stderr("error")
    sys.exit(run_async(work()))


@main.command()
@click.argument("clips", nargs=-1, required=True)
@click.option(
    "--decisions", type=click.Path(file_okay=False, path_type=Path), required=True, help="Write CLIP.jsonl here."
)
@click.option("--fps", type=click.FloatRange(0.1, 60), help="Analyses a second; all frames without it.")
@click.option("--sensitivity", type=click.IntRange(1, 10), default=5, show_default=True)
def motion(clips: tuple[str, ...], decisions: Path, fps: float | None, sensitivity: int) -> None:
    """What moves in video files or folders of JPEGs, decided exactly as a live agent does."""
    from agent.motion import MotionSettings
    from agent.motion.evaluate import decide

    settings = MotionSettings(sensitivity=sensitivity)
    try:
        decisions.mkdir(parents=True, exist_ok=True)
        for clip in clips:
            click.echo(decide(clip, settings, fps, decisions), err=True)
    except OSError as e:
        die(UsageError(f"{e.filename}: {e.strerror}", exits.CANNOT_WRITE))
    except AgentError as e:
        die(e)


if __name__ == "__main__":
    main()
