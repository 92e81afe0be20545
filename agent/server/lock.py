"""One server to a store: an advisory lock that ends with the process."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from agent.errors import UsageError
from agent.exits import CANNOT_WRITE, TRY_LATER
from agent.server.settings import ServerSettings

FILE = "server.lock"
REACHED = ("host", "public_url", "tls_cert", "tls_key", "ftp")


class StoreLock:
    """Held from construction to `close`; raises UsageError where it cannot be written (73) or another has it (75)."""

    def __init__(self, root: Path) -> None:
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = open(root / FILE, "a")  # noqa: SIM115 held until close()
        except OSError as e:
            raise UsageError(f"cannot write the store {root}: {e.strerror}", CANNOT_WRITE) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise UsageError(f"the store {root} is in use by another camera server", TRY_LATER) from None
        self._clear()  # of what a killed one said

    def say(self, settings: ServerSettings, port: int, ftp_port: int | None) -> None:
        """Where the server is reached, for commands: it may run with other settings than they are given."""
        told = {name: getattr(settings, name) for name in REACHED} | {"port": port, "ftp_port": ftp_port}
        with suppress(OSError):  # a full disk
            self._file.write(json.dumps(told))
            self._file.flush()

    def close(self) -> None:
        self._clear()
        self._file.close()

    def _clear(self) -> None:
        with suppress(OSError):
            self._file.truncate(0)


def where(settings: ServerSettings) -> ServerSettings | None:
    """The settings, with the addresses of the server that runs on their store; None where none does."""
    try:
        with open(settings.store_path / FILE) as file:
            if _free(file):
                return None  # what stands there was said by one that was killed
            return replace(settings, **json.load(file))
    except (OSError, ValueError, TypeError):
        return None


def _free(file: TextIO) -> bool:
    """Whether nobody holds it; also in another container, whose processes are not seen here."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def left_as_found(root: Path) -> Iterator[None]:
    """Where there was no folder, none is left behind by who could not make a store of it (73: a full disk)."""
    missing = [path for path in (root, *root.parents) if not path.exists()]
    try:
        yield
    except UsageError as e:
        if missing and e.exit_code == CANNOT_WRITE:
            with suppress(OSError):
                _remove(missing)
        raise


def _remove(folders: list[Path]) -> None:
    """A store and the folders above it that came with it, unless somebody else has begun to use it."""
    root, *above = folders
    path = root / FILE
    with open(path) if path.exists() else nullcontext() as file:
        if file is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(root)
    for folder in above:
        folder.rmdir()
