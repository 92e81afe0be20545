"""Names that FTP clients give: made harmless, remembered for a while, and never names of files here."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from dataclasses import dataclass

from agent.server.ingest.later import Later
from agent.server.ingest.room import Share

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

    The newest upload that was cut off is kept for two minutes, if `share` has room: a client may append the rest, once,
    and not after something else became of the name. Where different pictures were cut under one name, as by two
    sessions at once, nobody knows whose rest comes: none is taken.
    """

    def __init__(self, share: Share) -> None:
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._partial: tuple[str, bytes] | None = None
        self._share = share
        self._over = Later(self.forget_cut)

    def put(self, path: str, size: int) -> None:
        self._entries[path] = Entry(size, time.time())
        self._entries.move_to_end(path)
        while len(self._entries) > MAX_NAMES:
            self._entries.popitem(last=False)

    def get(self, path: str) -> Entry | None:
        return self._entries.get(path)

    def remove(self, path: str) -> bool:
        self.settle(path)
        return self._entries.pop(path, None) is not None

    def rename(self, old: str, new: str) -> bool:
        self.settle(old)
        self.settle(new)
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
        if self._partial is not None and self._partial[0] == path:
            before = self._partial[1]
            if not before or not (data.startswith(before) or before.startswith(data)):
                data = b""
        if not self._share.grow(len(data)):
            self.forget_cut()
            return
        self._partial = (path, data)
        self._over.put_off(PARTIAL_S)

    def forget_cut(self) -> None:
        """Nobody goes on with it any more."""
        self._over.cancel()
        self._partial = None
        self._share.give_back()

    def settle(self, path: str) -> None:
        """What goes on from here under this name is another picture."""
        if self._partial is not None and self._partial[0] == path:
            self.forget_cut()

    def beginning(self, path: str, offset: int | None) -> bytes:
        """What a resumed upload continues: its first `offset` bytes, or (append) all; b"" when nothing is known."""
        if self._partial is None:
            return b""
        name, data = self._partial
        if name != path:
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
