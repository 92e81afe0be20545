"""The index as an SQLite file, `index.db` in the store: the only place that writes SQL.

A write-ahead log, one writer thread whose transactions share their syncs, another thread that reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.durable import sync_folder
from agent.server.index import Rows
from agent.server.sqlite.database import SqliteIndex, read_only

__all__ = ["FILE", "SqliteIndex", "move", "open_index", "remove", "snapshot", "there"]

FILE = "index.db"
FILES = tuple(FILE + of for of in ("", "-wal", "-shm", "-journal"))


def there(root: Path) -> bool:
    """Whether the store has an index, be it a damaged one."""
    return (root / FILE).exists()


def open_index(root: Path, *, durable: bool = True) -> SqliteIndex:
    """Open or make the index; raises UnavailableError."""
    return SqliteIndex(root / FILE, durable=durable)


def remove(root: Path) -> None:
    """No index is in this folder any more, nor a log of one."""
    for name in FILES:  # not what somebody put aside as index.db.old
        (root / name).unlink(missing_ok=True)


def move(where: Path, root: Path) -> None:
    """The index of a folder, which nobody has open, becomes the store's, at once and for certain."""
    remove(root)
    (where / FILE).replace(root / FILE)
    sync_folder(root)


@contextmanager
def snapshot(root: Path) -> Iterator[Rows]:
    """One state of the index, read only; raises UnavailableError."""
    with read_only(root / FILE) as rows:
        yield rows
