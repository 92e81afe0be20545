"""Ordinary files into a directory: a mounted disk, a share, a folder that something else synchronises."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.errors import PermanentError, TransientError
from agent.exits import CANNOT_WRITE
from agent.sinks import Feed, naming
from agent.sinks.binder import File, FileRules
from agent.sinks.filing import deliver
from agent.sinks.threads import finished
from agent.threads import Threads

_LATER = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EMFILE, errno.EINTR, errno.ETIMEDOUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSink:
    """Files below `folder`, which must exist: an empty mount point is not written to by mistake where it lacks one."""

    folder: str
    path: str = naming.DEFAULT
    clips: Literal["films", "pictures"] = "films"
    film_s: float = 60.0
    records: bool = True

    def __post_init__(self) -> None:
        self.rules()

    def rules(self) -> FileRules:
        """Raises ConfigError."""
        return FileRules(self.path, self.clips, self.film_s, self.records)

    @property
    def label(self) -> str:
        return self.folder

    async def run(self, feed: Feed) -> None:
        root, left = Path(self.folder).expanduser(), threading.Event()
        with Threads(1, "disk") as thread:  # a share whose server is gone holds whoever touches it

            async def put(file: File) -> None:
                await finished(self._write, root, file, left, executor=thread, abort=left.set)

            await finished(self._look, root, executor=thread, abort=left.set)
            feed.up()
            await deliver(feed, self.rules(), put)

    def _look(self, root: Path) -> None:
        if not os.path.isdir(root) or not os.access(root, os.W_OK | os.X_OK):
            why = "cannot be written to" if root.is_dir() else "there is no such directory; it has to be made first"
            raise PermanentError(f"{self.folder}: {why}", CANNOT_WRITE)

    def _write(self, root: Path, file: File, left: threading.Event) -> None:
        """Whole and durable under its name, or not there: written beside, synced, renamed, the name synced.

        When it was `left` behind, its body may be gone, and another run may write the same: it ends where it is.
        """
        path = root / file.path
        part = path.with_name(path.name + ".part")
        try:
            made = _make_folders(root, path.parent)
            with open(part, "wb") as out:
                for block in file.body.blocks():
                    if left.is_set():
                        return
                    out.write(block)
                out.flush()
                os.fsync(out.fileno())
            if left.is_set():
                return
            os.replace(part, path)
            for folder in (*made, path.parent):
                _sync(folder)
        except OSError as e:
            if not left.is_set():
                with suppress(OSError):
                    part.unlink()  # it takes what is left of a disk that is nearly full
            text = f"{self.folder}: {e.strerror or e}"
            raise (TransientError(text) if e.errno in _LATER else PermanentError(text, CANNOT_WRITE)) from None


def _make_folders(root: Path, folder: Path) -> list[Path]:
    """Make what is missing below `root`; returns the folders that got a new name in them."""
    missing = []
    while folder != root and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
    return [path.parent for path in missing]


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as e:
        if e.errno not in (errno.EINVAL, errno.ENOTSUP):  # some shares have no way to say it
            raise
    finally:
        os.close(fd)
