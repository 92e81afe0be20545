"""One server to a store: an advisory lock that ends with the process."""

from __future__ import annotations

import fcntl
from pathlib import Path

from agent.errors import UsageError

CANNOT_WRITE = 73


class StoreLock:
    """Held from construction to `close`; raises UsageError (exit 73) when it cannot be had."""

    def __init__(self, root: Path) -> None:
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = open(root / "server.lock", "a")  # noqa: SIM115 held until close()
        except OSError as e:
            raise UsageError(f"cannot write the store {root}: {e.strerror}", CANNOT_WRITE) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise UsageError(f"the store {root} is in use by another camera server", CANNOT_WRITE) from None

    def close(self) -> None:
        self._file.close()
