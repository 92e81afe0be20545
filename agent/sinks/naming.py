"""Paths of the files that plain targets get: a template that is filled in, and nothing else gets into a path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from string import Formatter

from agent.errors import ConfigError

DEFAULT = "{camera}/{date}/{time}-{event}.jpg"
WORDS = ("camera", "date", "time", "event", "year", "month", "day", "hour", "seq")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}\Z")
_UNSAFE = re.compile(r"[^A-Za-z0-9._=@+-]")


@dataclass(frozen=True, slots=True)
class Moment:
    """What a template is filled in with. `wall_ns` is of the file's first picture, `seq` the number of its item."""

    camera: str
    wall_ns: int
    event: int
    seq: int

    def words(self) -> dict[str, str]:
        """Times are of this machine's zone; `time` has milliseconds, so that no two pictures share a name."""
        at = datetime.fromtimestamp(self.wall_ns // 1_000_000_000)
        return {
            "camera": _UNSAFE.sub("_", self.camera),
            "date": at.strftime("%Y-%m-%d"),
            "time": at.strftime("%H-%M-%S") + f".{self.wall_ns // 1_000_000 % 1000:03d}",
            "event": str(self.event),
            "year": at.strftime("%Y"),
            "month": at.strftime("%m"),
            "day": at.strftime("%d"),
            "hour": at.strftime("%H"),
            "seq": str(self.seq),
        }


def check_words(template: str, key: str) -> None:
    """Raises ConfigError for a template that cannot be filled in."""
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as e:
        raise ConfigError(f"{key} '{template}': {e}") from None
    for _, name, form, conversion in parsed:
        if name is not None and name not in WORDS:
            raise ConfigError(f"{key} '{template}': unknown word '{{{name}}}' (one of {', '.join(WORDS)})")
        if form or conversion:
            raise ConfigError(f"{key} '{template}': '{{{name}}}' stands alone, without ':' or '!'")


def check(template: str) -> None:
    """Raises ConfigError for a `path` that cannot be filled in or leads out of its place."""
    check_words(template, "path")
    odd = any(ord(c) < 32 or c == "\\" for c in template)
    if not template or odd or any(s in ("", ".", "..") for s in template.split("/")):
        raise ConfigError(f"path '{template}': expected names with single slashes between them, no . or ..")


def fill(template: str, moment: Moment) -> str:
    return template.format_map(moment.words())


def path(template: str, moment: Moment, suffix: str) -> str:
    """The file's path below its base; `suffix` (jpg, avi, json, h264) takes the place of the template's own."""
    return f"{fill(_SUFFIX.sub('', template), moment)}.{suffix}"
