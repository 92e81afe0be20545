"""`camera-agent watch`: one-shot surveillance."""

from __future__ import annotations

import click

from agent.commands.camera_password import password_option, with_password
from agent.commands.common import damaged_pictures, duration, log_to_stderr, on_signals, run_async


@click.command()
@click.argument("source", default="")
@click.option(
    "--for", "for_s", type=duration, metavar="TIME", default="1h", show_default=True, help="How long: 45s, 30m, 8h."
)
@click.option("--keep", type=click.Path(file_okay=False), help="Keep the recordings in this directory.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object (CloudEvents) a line on stdout.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the page; 0 for any free one.  [default: 8088]")
@click.option("--local", is_flag=True, help="Serve this machine only, not the LAN.")
@click.option("--sensitivity", type=click.IntRange(1, 10), default=5, show_default=True, help="10 sees the most.")
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
    """One-shot surveillance, on a page; leaves nothing behind.

    Unless --keep says so, the recordings are deleted at the end. SOURCE is one of:

    \b
      0, /dev/v4l/by-id/…            a webcam
      picamera                       a Raspberry Pi's camera
      http://user@host/video.cgi     MJPEG over HTTP, or a JPEG at a time
      dcs920://user@host[:port]      a D-Link; so with foscam, axis, esp32cam, …
      rtsp://user@host/path          H.264 or H.265
      clip.avi, a folder of JPEGs    a film
      demo                           the built-in scene

    Without one: the first camera found on this machine, else the demo scene.
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
        watch = Watch(options, damaged_pictures())
        on_signals(watch.until)
        await watch.run()

    run_async(session())
