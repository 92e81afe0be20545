"""The ways in from a device: the Source protocol and the registry of its kinds."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from agent.errors import UsageError
from agent.frame import Frame
from agent.sources.presets import PRESETS

Publish = Callable[[Frame], int | None]
"""Takes a frame at once. Returns until when (the frames' `pts_ns`) nobody wants another: a source that this spares work
may give those before then with the first one after it. None or a time that has passed: each at once."""


class Source(Protocol):
    """A way in from one device. Its fields are its settings in the configuration file."""

    async def run(self, publish: Publish) -> None:
        """Connect once and publish every frame; raise when the camera is gone. Never retry.

        Returning means that there is no more to come, ever (a film's end). Raises TransientError or
        PermanentError with one line that names the camera's address (without secrets). Frame `index` starts at 0. Ends
        within 1 s of cancellation and closes all it opened.
        """
        ...

    @property
    def label(self) -> str:
        """The device in a few words for people, without secrets: `http://192.168.0.20/video.cgi`."""
        ...


@runtime_checkable
class Looking(Protocol):
    """A source that `check` can ask for remarks on its camera: the clock, the login."""

    async def look(self) -> list[str]:
        """Connect once more and tell; raises as `run` does."""
        ...


@runtime_checkable
class Twofold(Protocol):
    """A source that may have a second, small stream of the same camera."""

    def parts(self) -> tuple[Source, Source | None]:
        """The big stream alone, and the small one where there is one."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A registry row: where the class is, and which URL schemes on the command line mean it, or which endings of an
    http(s) path, whatever kind the scheme itself means.

    The class has `from_url(text: str) -> Source`, which raises UsageError for text that it cannot take.
    """

    module: str
    name: str
    schemes: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()

    def load(self) -> type[Source]:
        cls: type[Source] = getattr(importlib.import_module(self.module), self.name)
        return cls


FILMS = (".mp4", ".m4v", ".mkv", ".mov", ".ts", ".flv", ".m3u8", ".264", ".h264", ".265", ".h265")

KINDS: dict[str, Kind] = {
    "mjpeg": Kind("agent.sources.mjpeg", "MjpegSource", ("http", "https")),
    "dcs920": Kind("agent.sources.ipcam", "Dcs920Source", ("dcs920",)),
    "ipcam": Kind("agent.sources.ipcam", "IpCameraSource", tuple(p for p in PRESETS if p != "dcs920")),
    "rtsp": Kind("agent.sources.rtsp", "RtspSource", ("rtsp", "rtsps"), FILMS),
    "picamera": Kind("agent.sources.picamera", "PiCameraSource", ("picamera",)),
    "webcam": Kind("agent.sources.webcam", "WebcamSource", ("webcam",)),
    "file": Kind("agent.sources.file", "FileSource", ("file",)),
    "demo": Kind("agent.sources.demo", "DemoSource", ("demo",)),
}


def silence_s(source: Source) -> float:
    """For how long it may be up without a frame by its own settings."""
    return sum(float(getattr(source, name, 0.0)) for name in ("stall_timeout_s", "poll_s"))


def from_text(text: str) -> Source:
    """The source that a word on the command line names: `demo`, `0`, a file or folder, or a URL.

    Raises UsageError (exit 66) with what would have been understood.
    """
    import os

    scheme, sep, _ = text.partition("://")
    if not sep:
        if text in ("demo", "picamera"):
            scheme = text
        elif text.isdigit() or text.startswith("/dev/video"):
            scheme = "webcam"
        elif os.path.exists(text):
            scheme = "file"
        else:
            raise UsageError(
                f"no such camera: '{_shown(text)}' (demo, picamera, a webcam number, a video file or folder, "
                "http://user:password@host/video.cgi, rtsp://user:password@host/path or dcs920://user:password@host)",
                66,
            )
    path = text.partition("?")[0].lower() if scheme.lower() in ("http", "https") else ""
    for kind in KINDS.values():
        if kind.endings and path.endswith(kind.endings):
            return kind.load().from_url(text)  # type: ignore[attr-defined, no-any-return]
    for kind in KINDS.values():
        if scheme.lower() in kind.schemes:
            return kind.load().from_url(text)  # type: ignore[attr-defined, no-any-return]
    import difflib  # only mistakes need it

    known = [s for k in KINDS.values() for s in k.schemes]
    near = difflib.get_close_matches(scheme.lower(), known, 1)
    hint = f", did you mean '{near[0]}://'?" if near else f" (one of {', '.join(known)})"
    raise UsageError(f"no such camera: '{_shown(scheme)}://' is neither a scheme nor a preset that I know{hint}", 66)


def _shown(text: str) -> str:
    """What was typed, on one line, without what may be a password in it."""
    return "".join(c if c.isprintable() else "?" for c in text.rpartition("@")[2][:80])
