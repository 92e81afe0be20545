"""Names that FTP clients give: made harmless, remembered for a while, and never names of files here."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from dataclasses import dataclass

MAX_NAMES = 200
MAX_LENGTH = 512
PARTIAL_S = 120.0
CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


def resolve(cwd: str, argument: str) -> str:
    """An absolute path without `.`, `..` and backslashes; raises ValueError for controls and for what is too long."""
    text = argument.replace("\\", "/")
    if CONTROLS.search(text):
        raise ValueError("control characters in the name")
    parts: list[str] = [] if text.startswith("/") else [p for p in cwd.split("/") if p]
    for part in text.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    path = "/" + "/".join(parts)
    if len(path) > MAX_LENGTH:
        raise ValueError("the name is too long")
    return path


@dataclass(frozen=True, slots=True)
class Entry:
    """What was uploaded under a name, as the client sees it."""

    size: int
    at_s: float


class Shelf:
    """One camera's recent names. What they name is in the archive, under names of our own.

    `partial` is the newest upload that was cut off: a client may append what is missing.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._partial: tuple[str, bytes, float] | None = None

    def put(self, path: str, size: int) -> None:
        self._entries[path] = Entry(size, time.time())
        self._entries.move_to_end(path)
        while len(self._entries) > MAX_NAMES:
            self._entries.popitem(last=False)

    def get(self, path: str) -> Entry | None:
        return self._entries.get(path)

    def remove(self, path: str) -> bool:
        return self._entries.pop(path, None) is not None

    def rename(self, old: str, new: str) -> bool:
        entry = self._entries.pop(old, None)
        if entry is not None:
            self._entries[new] = entry
        return entry is not None

    def inside(self, folder: str) -> list[tuple[str, Entry | None]]:
        """Names in a folder, oldest first; None for a folder in it."""
        prefix = folder.rstrip("/") + "/"
        found: dict[str, Entry | None] = {}
        for path, entry in self._entries.items():
            if path.startswith(prefix):
                name, _, below = path.removeprefix(prefix).partition("/")
                found.setdefault(name, None if below else entry)
        return list(found.items())

    def cut(self, path: str, data: bytes) -> None:
        """Remember the beginning of a picture."""
        self._partial = (path, data, time.monotonic())

    def beginning(self, path: str, offset: int | None) -> bytes:
        """What a resumed upload continues: its first `offset` bytes, or (append) all; b"" when nothing is known."""
        if self._partial is None:
            return b""
        name, data, at_s = self._partial
        if name != path or time.monotonic() - at_s > PARTIAL_S:
            return b""
        return data if offset is None else data[:offset] if offset <= len(data) else b""


def listing(entries: list[tuple[str, Entry | None]], form: str) -> bytes:
    """The answer to LIST (as `ls -l` writes it), NLST or MLSD (RFC 3659)."""
    lines = []
    for name, entry in entries:
        at = time.gmtime(entry.at_s if entry else time.time())
        size = entry.size if entry else 0
        if form == "NLST":
            lines.append(name)
        elif form == "MLSD":
            kind = "file" if entry else "dir"
            lines.append(f"type={kind};size={size};modify={time.strftime('%Y%m%d%H%M%S', at)}; {name}")
        else:
            mode = "-rw-------" if entry else "drwx------"
            lines.append(f"{mode} 1 camera camera {size:>10} {time.strftime('%b %d %H:%M', at)} {name}")
    return "".join(line + "\r\n" for line in lines).encode("utf-8", "surrogateescape")
