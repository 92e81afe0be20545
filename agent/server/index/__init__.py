"""The index as the server sees it: rows in tables, changed by whole transactions; which database it is stays behind.

`agent.server.sqlite` is one; what an index must do is in `tests/server/test_index_contract.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from agent.server.index.rows import (
    AccountRow,
    CameraRow,
    Dropped,
    Erasing,
    EventRow,
    Fact,
    Gone,
    Grant,
    ItemRow,
    Link,
    NoteRow,
    Past,
    Session,
    Share,
    Span,
    Token,
)

R = TypeVar("R")
T = TypeVar("T")


class UnavailableError(Exception):
    """The database did not do it: locked, damaged, no room. Nothing of the transaction is there."""


class DamagedError(UnavailableError):
    """What is stored there is no index, or broken; trying again does not help."""


class TakenError(ValueError):
    """There is a row with this key, or with what must be unique."""


@dataclass(frozen=True, slots=True)
class Below:
    """Less than that; a column without a value is not."""

    value: int


@dataclass(frozen=True, slots=True)
class From:
    """That or more; a column without a value is not."""

    value: int


@dataclass(frozen=True, slots=True)
class OneOf:
    values: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class NoneOf:
    values: tuple[str | int, ...]


Place = tuple[int, str, int]
"""Of an item in a list by time: wall_ns, spool, seq."""

Match = str | int | bytes | Below | From | OneOf | NoneOf
"""What a column must be: this value, or as the condition says."""


class Table(Protocol[R]):
    """Rows of one kind, in the order of their keys. A column that the kind does not have is a KeyError."""

    def get(self, **where: Match) -> R | None:
        """The first row that matches."""

    def find(self, limit: int | None = None, *, backwards: bool = False, **where: Match) -> list[R]:
        """All that match, the last first with `backwards`, `limit` at most."""

    def each(self) -> Iterator[R]:
        """All rows, in any order, few at a time in memory; to be read within the transaction."""

    def count(self, **where: Match) -> int: ...

    def add(self, row: R) -> R:
        """A new row; the answer has its id. Raises TakenError, and the row that was there is unchanged."""

    def put(self, row: R) -> None:
        """This row, instead of the one with its key if there is one."""

    def change(self, row: R, **new: Any) -> None:
        """Have these values in columns of a row that is there, none of them of its key; what differs is written."""

    def remove(self, **where: Match) -> int:
        """Delete what matches, by one condition at least; how many there were."""


class Items(Table[ItemRow], Protocol):
    """The stored items."""

    def newest(self, limit: int, before: Place | None = None, **where: Match) -> list[ItemRow]:
        """By (wall_ns, spool, seq), the latest first; `before`: only what comes after this place of the list."""

    def used(self, **where: Match) -> tuple[int, int]:
        """(items, their bytes)."""

    def expendable(self, limit: int, *, head_ns: int | None = None, **where: Match) -> list[ItemRow]:
        """What retention may delete: no item of an event that is kept. The oldest first (by `stored_ns`).

        With `head_ns` the least worth first, of each the oldest: stills, then clips of later than `head_ns` after
        their event began, then everything else.
        """


class Events(Table[EventRow], Protocol):
    """The events that items told of."""

    def newest(self, limit: int, before: tuple[int, int] | None = None, **where: Match) -> list[EventRow]:
        """By (at_ns, id), the latest first; `before`: only what comes after this place of the list."""


@dataclass(slots=True)
class Rows:
    """All tables within one transaction. `dirs`: directories whose names must be durable before its rows are."""

    items: Items
    events: Events
    settled: Table[Span]
    dropped: Table[Dropped]
    past: Table[Past]
    notes: Table[NoteRow]
    cameras: Table[CameraRow]
    erasing: Table[Erasing]
    gone: Table[Gone]
    facts: Table[Fact]
    accounts: Table[AccountRow]
    grants: Table[Grant]
    sessions: Table[Session]
    links: Table[Link]
    tokens: Table[Token]
    shares: Table[Share]
    dirs: set[str]


class Index(Protocol):
    """Transactions. Every method may raise UnavailableError."""

    async def write(self, run: Callable[[Rows], T]) -> T:
        """Do what `run` does, all of it or nothing; returns when it is durable.

        Serializable: nobody writes between what `run` reads and what it writes. Where it raises, its changes are
        undone and the exception comes out here. It runs in a thread of the index, may share a commit with others,
        and whoever was cancelled while waiting cannot know whether it happened. Directories in `Rows.dirs` are
        synced before the commit; an OSError of that undoes everything, too.
        """

    async def read(self, query: Callable[[Rows], T]) -> T:
        """One state of the index, in which every write that returned before is there; who writes here fails."""

    async def foreign_version(self) -> int:
        """A number that changes when another process wrote to the index, and with nothing written through this one."""

    async def scrub(self) -> None:
        """Leave nothing of what was removed in the database's files. Not part of any transaction."""

    async def close(self) -> None:
        """Finish what waits, then close. Where the disk hangs that is given up: it was not answered."""


class OpenIndex(Protocol):
    """Opens the index of the store at `root`, made or brought up to date; `durable=False` leaves out every sync.

    Raises UnavailableError, with a line that says why.
    """

    def __call__(self, root: Path, *, durable: bool = True) -> Index: ...
