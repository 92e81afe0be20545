"""What a person sees of `watch` in the terminal, and what a program sees with `--json`."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from agent import __version__, cloudevents
from agent.motion import MotionSettings
from agent.pipeline import Counters, Pipeline
from agent.recorder import Closed

BARS = "▁▂▃▄▅▆▇█"


class Console:
    """Events as JSON lines on stdout with `json`, everything else to stderr; a live line on a terminal only.

    When it cannot write any more (the terminal is closed, the reader of the pipe has gone), `gone` is called once
    with the reason, and what is said from then on is lost.
    """

    def __init__(self, json: bool = False, gone: Callable[[OSError], None] = lambda e: None) -> None:
        self._json = json
        self._gone = gone
        self._out = (sys.stderr if json else sys.stdout) or open(os.devnull, "w")  # noqa: SIM115
        self._live = self._out.isatty() and os.environ.get("TERM") != "dumb"
        self._line = ""
        self._history: deque[float] = deque(maxlen=16)
        self._sampled = 0.0

    def _write(self, out: TextIO, text: str) -> None:
        try:
            out.write(text)
            out.flush()
        except OSError as e:
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())  # what is still buffered must go somewhere
            self._gone(e)

    def say(self, text: str) -> None:
        """A line; the live line makes way for it."""
        clear, self._line = "\r\x1b[K" if self._line else "", ""
        self._write(self._out, f"{clear}{text}\n")

    def event(self, kind: str, camera: str, data: dict[str, Any], wall_ns: int) -> None:
        if self._json:
            self._write(sys.stdout, cloudevents.event(kind, camera, data, wall_ns=wall_ns) + "\n")

    def hello(
        self,
        device: str,
        why: str,
        end: float,
        for_s: float,
        here: str,
        phone: str | None,
        kept: str | None,
        motion: MotionSettings,
    ) -> None:
        fate = f"recordings go to {kept}" if kept else "nothing is kept after it ends (--keep DIR to keep)"
        self.say(f"camera-agent {__version__}  one-shot watch: {fate}\n")
        self.say(f"  camera   {device}" + (f"   {why}" if why else ""))
        on = f"on     sensitivity {motion.sensitivity} of 10" if motion.enabled else "off"
        self.say(f"  motion   {on}")
        self.say(f"  ends     {time.strftime('%H:%M', time.localtime(end))}  in {span(for_s)}, or with Ctrl-C\n")
        self.say(f"  here     {here}   opens once, for 5 minutes")
        if phone:
            more = ", then press r" if self._live else ""
            self.say(f"  phone    {phone}   one phone or computer, 5 minutes{more}")
            self._qr(phone)
        self.say("")

    def link(self, url: str) -> None:
        """A new link, and as a picture for a phone's camera on a terminal."""
        self.say(f"  link     {url}   opens once, for 5 minutes")
        self._qr(url)

    def _qr(self, url: str) -> None:
        if not self._live:
            return
        import segno

        picture = io.StringIO()
        segno.make(url, error="l", boost_error=False).terminal(out=picture, compact=True, border=1)
        self.say("\n" + picture.getvalue().rstrip("\n"))

    def motion(self, what: Closed, seconds: float, page: str) -> None:
        when = time.strftime("%H:%M:%S", time.localtime(what.wall_ns / 1e9))
        self.say(f"{when}  motion {what.event}  {seconds:.1f} s  biggest {share(what.peak)} of the picture  {page}")

    def status(self, pipeline: Pipeline, left_s: float, viewers: int) -> None:
        """The live line, at most twice a second, on a terminal only."""
        if not self._live:
            return
        self._history.append(pipeline.decision.score)
        spark = "".join(BARS[min(7, int((s**0.5) * 8))] for s in self._history)
        c = pipeline.counters
        head = f" LIVE  {pipeline.name} {pipeline.fps:.1f} fps"
        if not pipeline.health.up:
            state = "AWAY" if pipeline.started.is_set() else "WAIT"
            head, spark = f" {state}  {pipeline.name}: {pipeline.health.error or 'for the first picture'}", ""
        doing = "recording" if pipeline.recorder.event else "no motion"
        events, watching = count(c.events, "event"), count(viewers, "viewer")
        columns = shutil.get_terminal_size().columns
        parts = [head, spark, doing, events, watching, f"ends in {span(left_s)}"]
        for least in ("", watching, spark, events):  # what goes first where the terminal is narrow
            parts = [p for p in parts if p != least]
            line = "  ".join(parts)[: columns - 1]
            if len("  ".join(parts)) < columns:
                break
        self._line = line
        self._write(self._out, "\r\x1b[K" + line)

    def damaged(self, c: Counters, looked: int, bad: int) -> None:
        """What came, when not all of it could be looked at."""
        came = f"{count(c.frames, 'picture')} came, {c.frame_bytes / 1e6:.1f} MB; {looked} looked at for motion"
        if c.undecodable == looked:
            self.say(f"{came}, and none of them could be decoded: nothing was seen")
        elif bad == looked:
            self.say(f"{came}, and all of them were damaged: nothing can be seen in them reliably")
        else:
            self.say(f"{came}, {bad} of them damaged")

    def goodbye(self, seconds: float, c: Counters, links: int, left: str | None, keep: bool, source: str) -> None:
        self.say(
            f"ended after {span(seconds)}   {count(c.events, 'event')}, {c.frames} frames, {c.clip_bytes / 1e6:.1f} MB"
        )
        if keep:
            self.say(f"kept: recordings in {left}\ndeleted: {count(links, 'link')} and all sessions")
            self.say(f"to see them:      {command()} server --store {shlex.quote(left or '')}")
        elif left:
            self.say(f"NOT deleted: {left} (remove it by hand)")
        else:
            self.say(f"deleted: recordings, {count(links, 'link')} and all sessions. Nothing is left.")
            secret = "://" in source or "@" in source
            shown = " SOURCE" if secret else f" {shlex.quote(source)}" if source else ""
            self.say(f"again, kept:      {command()} watch{shown} --keep DIR")

    @contextmanager
    def keys(self, on_key: Callable[[str], None]) -> Iterator[None]:
        """Call `on_key` for each key pressed, where there is a terminal in the foreground to press them on."""
        if not (self._live and sys.stdin and _in_foreground(sys.stdin.fileno())):
            yield
            return
        import asyncio
        import termios
        import tty

        fd = sys.stdin.fileno()
        before = termios.tcgetattr(fd)
        loop = asyncio.get_running_loop()
        tty.setcbreak(fd)

        def pressed() -> None:
            try:
                keys = os.read(fd, 64).decode("latin-1")
            except OSError:
                keys = ""
            if not keys:  # the terminal is closed: it would be readable for ever
                loop.remove_reader(fd)
            for key in keys:
                on_key(key)

        loop.add_reader(fd, pressed)
        self.say(" + 15 min   r new link   q end")
        try:
            yield
        finally:
            loop.remove_reader(fd)
            if _in_foreground(fd):  # a job in the background would be stopped for it
                termios.tcsetattr(fd, termios.TCSANOW, before)


def _in_foreground(terminal: int) -> bool:
    """Is this a terminal, open, and ours to use?"""
    try:
        return os.getpgrp() == os.tcgetpgrp(terminal)
    except OSError:
        return False


def command() -> str:
    """What to type for this program: its name, or its path where the name alone does not find it."""
    return "camera-agent" if shutil.which("camera-agent") else sys.argv[0]


def span(seconds: float) -> str:
    """`45 s`, `12:04` (minutes) or `8 h 05 min`."""
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    return f"{s // 60}:{s % 60:02d}" if s < 3600 else f"{s // 3600} h {s % 3600 // 60:02d} min"


def share(value: float) -> str:
    """A share of the picture as per cent."""
    return f"{value * 100:.0f} %" if value >= 0.01 else f"{value * 100:.1f} %"


def count(number: int, thing: str) -> str:
    """`1 event`, `2 events`."""
    return f"{number} {thing}{'s' * (number != 1)}"
