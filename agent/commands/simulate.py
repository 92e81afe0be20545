"""`camera-agent simulate`: a fake camera."""

from __future__ import annotations

import asyncio

import click

from agent.commands.common import log_to_stderr, on_signals, run_async
from agent.simulate import FAULTS, LOGINS, STYLES

FAULT_LIST = "\b\nFaults:\n" + "\n".join(f"  {name:<14} {what}" for name, what in FAULTS.items())


@click.command(epilog=FAULT_LIST)
@click.argument("clip")
@click.option("--port", type=click.IntRange(0, 65535), default=8920, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--fps", type=click.FloatRange(0.1, 240), help="Instead of the clip's own pace.")
@click.option("--user", help="Ask for this user.")
@click.option("--password", default="", help="And this password.")
@click.option("--login", type=click.Choice(list(LOGINS)), default="basic", show_default=True, help="In this way.")
@click.option("--style", type=click.Choice(list(STYLES)), default="dcs920", show_default=True, help="Frame as these.")
@click.option("--once", is_flag=True, help="Play once and end the stream, instead of in a loop.")
@click.option("--fault", "faults", multiple=True, metavar="FAULT[=X][@N[+M]]", help="As listed below; repeatable.")
@click.option("--stamp", is_flag=True, help="Put the time into a JPEG comment of each picture.")
def simulate(
    clip: str,
    port: int,
    host: str,
    fps: float | None,
    user: str | None,
    password: str,
    login: str,
    style: str,
    once: bool,
    faults: tuple[str, ...],
    stamp: bool,
) -> None:
    """A fake DCS-920 that misbehaves on demand.

    It plays CLIP (AVI, MP4, MKV, or a folder of JPEGs). Some FAULTs take a value X; @N is the first picture that is
    hit (from 0), +M how many are (1), and without @N all are: --fault stall=5@50, --fault corrupt@10+3
    """
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
            login=login,
            style=style,
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
