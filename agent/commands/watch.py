"""`camera-agent watch`: one-shot surveillance."""

from __future__ import annotations

import click

from agent.commands.common import duration, log_to_stderr, on_signals, run_async
from agent.commands.password import password_option, with_password


@click.command()
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
@password_option
def watch(
    source: str,
    for_s: float,
    keep: str | None,
    as_json: bool,
    port: int | None,
    local: bool,
    sensitivity: int,
    no_motion: bool,
    password_file: str | None,
) -> None:
    """One-shot surveillance with a page to look at; nothing is left behind unless --keep says so.

    SOURCE: demo, a video file or folder of JPEGs, http://user:password@host/video.cgi,
    dcs920://user:password@host[:port], or a webcam number. Without one: the first camera found, else the demo scene.
    """
    log_to_stderr("warning")
    source = with_password(source, password_file)
    from agent.motion import MotionSettings
    from agent.watch import Watch, WatchOptions

    async def session() -> None:
        motion = MotionSettings(enabled=not no_motion, sensitivity=sensitivity)
        options = WatchOptions(
            source=source, for_s=for_s, keep=keep, json=as_json, port=port, local=local, motion=motion
        )
        watch = Watch(options)
        on_signals(watch.until)
        await watch.run()

    run_async(session())
