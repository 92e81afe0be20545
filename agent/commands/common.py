"""What several commands share: durations, logging, exit codes, signals, where the configuration is."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

import click

from agent import exits
from agent.commands.loop import Loop
from agent.errors import AgentError, ConfigError, PermanentError, UsageError
from agent.memory import one_heap

log = logging.getLogger("agent")

LONGEST_S = 10 * 366 * 86400.0


def config_option(what: str) -> Callable[[Any], Any]:
    """`-c FILE`. Not click finds out whether it can be read (exit 2) but its reader, as all that is wrong (exit 78)."""
    return click.option("-c", "--config", "path", type=click.Path(path_type=Path, readable=False), help=what)


server_file = config_option("The server's file, or that of the agent it is in.")
store_option = click.option(
    "--store", type=click.Path(file_okay=False), help="The server's store.  [default: as `server`]"
)


def duration(text: str) -> float:
    """`90`, `45s`, `30m`, `8h`, `1h30m` or `2d` as seconds."""
    match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip().lower())
    if not match or not any(match.groups()):
        raise click.BadParameter(f"'{text}' is no duration (45s, 30m, 8h, 1h30m, 2d)")
    d, h, m, s = (float(g or 0) for g in match.groups())
    seconds = ((d * 24 + h) * 60 + m) * 60 + s
    if seconds <= 0:
        raise click.BadParameter(f"'{text}' is no time at all")
    if seconds > LONGEST_S:
        raise click.BadParameter(f"'{text}' is longer than ten years")
    return seconds


def size(text: str) -> int:
    """`500MB`, `5GB`, `2GiB` or plain bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if not match:
        raise click.BadParameter(f"'{text}' is no size (500MB, 5GB, 2GiB)")
    power = " KMGT".index(match[2].upper() or " ")
    unit: int = (1024 if match[3] else 1000) ** power
    return round(float(match[1]) * unit)


def _keep_stderr_to_ourselves() -> None:
    """Libraries in C (libjpeg, of each damaged picture) write to descriptor 2 as they like: from now on to nowhere.

    What we say goes on through a copy of it.
    """
    if sys.stderr is None or sys.stderr is not sys.__stderr__:
        return
    sys.stderr = open(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def damaged_pictures() -> Callable[[], int]:
    """Hear what libjpeg says on descriptor 2 from now on; the answer counts the pictures it called damaged lately.

    It says so in one line for each such picture, decodes it nevertheless, and tells nobody in another way. What it
    skips between a picture and its end does no harm: some webcams send that with each.
    """
    heard, told = os.pipe2(os.O_NONBLOCK)  # a pipe that nobody reads is full one day, and takes no more
    os.dup2(told, 2)
    os.close(told)

    def lately() -> int:
        try:
            return len(_DAMAGED.findall(os.read(heard, 1 << 20)))
        except BlockingIOError:
            return 0

    return lately


_DAMAGED = re.compile(rb"^(?:Corrupt JPEG data: (?!\d+ extraneous)|Premature end of JPEG)", re.MULTILINE)


def log_to_stderr(level: str = "info") -> None:
    """Plain lines on stderr; journald gets priorities instead of times."""
    _keep_stderr_to_ourselves()
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


def die(e: AgentError) -> NoReturn:
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
    one_heap()
    try:
        with asyncio.Runner(loop_factory=Loop) as runner:
            return runner.run(main)
    except BaseException as e:
        if (known := expected(e)) is None:
            raise
        die(known)


def configuration(
    path: Path | None, source: str | None, to: str | None, name: str, instead: str = "--source and --to"
) -> Any:
    """What a command shall work on, from a file or from the options `instead` of one; logging is set by it."""
    from agent import app

    if source or to:
        if path or not (source and to):
            raise click.UsageError("give either -c FILE, or --source and --to together")
        return app.quick(source, to, name)
    path = path or default_config()
    if not path.exists():
        raise ConfigError(f"{path}: no such file; give -c FILE (config.example.yaml shows all), or {instead}")
    settings = app.load(path)
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
    """Set `until` on Ctrl-C, SIGTERM and when the terminal closes, unless it was started with `nohup`; log which."""
    import signal

    def end(by: signal.Signals) -> None:
        log.info("stopping, because of %s", by.name)
        until.set()

    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if s != signal.SIGHUP or signal.getsignal(s) != signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(s, end, s)


def announce(server: Any) -> None:
    """The one-time set-up link, as long as the server has no owner."""
    if server is not None and (link := server.setup_link()):
        click.echo(f"set up: {link}   (opens once; makes you the owner)", err=True)
