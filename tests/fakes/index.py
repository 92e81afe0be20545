"""An index in dictionaries: everything that `agent.server.index` asks for, in the memory of the process."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from agent.durable import sync_folder
from agent.frame import ItemType
from agent.server.index import Below, From, Match, NoneOf, OneOf, Place, Rows, TakenError, UnavailableError, rows
from agent.server.index.rows import EventRow, ItemRow

R = TypeVar("R")
T = TypeVar("T")


class MemoryTable(Generic[R]):
    """Rows by their keys; `unique`: other fields of which no two rows may have the same."""

    def __init__(self, row: type[R], *key: str, unique: str = "") -> None:
        self._fields = row.__dataclass_fields__  # type: ignore[attr-defined]
        self._key = key
        self._unique = unique
        self._last = 0
        self.held: dict[tuple[Any, ...], R] = {}
        self.frozen = False

    def get(self, **where: Match) -> R | None:
        return next(iter(self.find(1, **where)), None)

    def find(self, limit: int | None = None, *, backwards: bool = False, **where: Match) -> list[R]:
        found = sorted((k for k, row in self.held.items() if self._matches(row, where)), reverse=backwards)
        return [self.held[k] for k in found[:limit]]

    def each(self) -> Iterator[R]:
        return iter(list(self.held.values()))

    def count(self, **where: Match) -> int:
        return len(self.find(**where))

    def add(self, row: R) -> R:
        self._writes()
        if "id" in self._fields:
            self._last = max(self._last + (not getattr(row, "id")), getattr(row, "id"))  # noqa: B009
            row = replace(row, id=getattr(row, "id") or self._last)  # type: ignore[type-var]  # noqa: B009
        same = self._unique and any(getattr(r, self._unique) == getattr(row, self._unique) for r in self.held.values())
        if same or self._key_of(row) in self.held:
            raise TakenError(f"{row}")
        self.held[self._key_of(row)] = row
        return row

    def put(self, row: R) -> None:
        self._writes()
        if (there := self.held.get(self._key_of(row))) is None:
            self.add(row)
            return
        id_ = {"id": getattr(there, "id")} if "id" in self._fields else {}  # noqa: B009
        self.held[self._key_of(row)] = replace(row, **id_)  # type: ignore[type-var]

    def change(self, row: R, **new: Any) -> None:
        self.put(replace(row, **new))  # type: ignore[type-var]

    def remove(self, **where: Match) -> int:
        self._writes()
        if not where:
            raise ValueError("remove everything?")
        gone = [k for k, row in self.held.items() if self._matches(row, where)]
        for key in gone:
            del self.held[key]
        return len(gone)

    def _writes(self) -> None:
        if self.frozen:
            raise UnavailableError("this is a read")

    def _key_of(self, row: R) -> tuple[Any, ...]:
        return tuple(getattr(row, c) for c in self._key)

    def _matches(self, row: R, where: dict[str, Match]) -> bool:
        if unknown := where.keys() - self._fields.keys():
            raise KeyError(unknown.pop())
        return all(_holds(getattr(row, column), match) for column, match in where.items())


def _holds(value: Any, match: Match) -> bool:
    match match:
        case Below(limit):
            return value is not None and value < limit
        case From(limit):
            return value is not None and value >= limit
        case OneOf(values):
            return value in values
        case NoneOf(values):
            return value not in values
    return bool(value == match)


class MemoryItems(MemoryTable[ItemRow]):
    def __init__(self, events: MemoryEvents) -> None:
        super().__init__(ItemRow, "camera", "spool", "seq")
        self._events = events

    def newest(self, limit: int, before: Place | None = None, **where: Match) -> list[ItemRow]:
        def place(item: ItemRow) -> Place:
            return item.wall_ns, item.spool, item.seq

        found = [i for i in self._matching(where) if before is None or place(i) < before]
        return sorted(found, key=place, reverse=True)[:limit]

    def used(self, **where: Match) -> tuple[int, int]:
        found = self._matching(where)
        return len(found), sum(i.bytes for i in found)

    def expendable(self, limit: int, *, head_ns: int | None = None, **where: Match) -> list[ItemRow]:
        def worth(item: ItemRow) -> int:
            event = self._event(item)
            if head_ns is None or item.type is ItemType.STILL:
                return 0
            late = event is not None and item.wall_ns > event.at_ns + head_ns
            return 1 if late and item.type is ItemType.CLIP else 2

        free = [i for i in self._matching(where) if not ((event := self._event(i)) and event.kept)]
        return sorted(free, key=lambda i: (worth(i), i.stored_ns))[:limit]

    def _matching(self, where: dict[str, Match]) -> list[ItemRow]:
        """In the order in which they came."""
        return [i for i in self.held.values() if self._matches(i, where)]

    def _event(self, item: ItemRow) -> EventRow | None:
        return self._events.held.get((item.camera, item.spool, item.event))


class MemoryEvents(MemoryTable[EventRow]):
    def __init__(self) -> None:
        super().__init__(EventRow, "camera", "spool", "number")

    def newest(self, limit: int, before: tuple[int, int] | None = None, **where: Match) -> list[EventRow]:
        found = [e for e in self.find(**where) if before is None or (e.at_ns, e.id) < before]
        return sorted(found, key=lambda e: (-e.at_ns, -e.id))[:limit]


class MemoryIndex:
    """Transactions by putting everything back; what closes forgets."""

    def __init__(self, *, durable: bool = True) -> None:
        self._durable = durable
        events, spool = MemoryEvents(), ("camera", "spool")
        self._rows = Rows(
            items=MemoryItems(events),
            events=events,
            settled=MemoryTable(rows.Span, *spool, "first"),
            dropped=MemoryTable(rows.Dropped, *spool, "first", "last"),
            past=MemoryTable(rows.Past, *spool, "block"),
            notes=MemoryTable(rows.NoteRow, "id"),
            cameras=MemoryTable(rows.CameraRow, "name"),
            erasing=MemoryTable(rows.Erasing, "camera"),
            gone=MemoryTable(rows.Gone, "hash"),
            facts=MemoryTable(rows.Fact, "key"),
            accounts=MemoryTable(rows.AccountRow, "id", unique="name"),
            grants=MemoryTable(rows.Grant, "account", "camera"),
            sessions=MemoryTable(rows.Session, "hash"),
            links=MemoryTable(rows.Link, "hash"),
            tokens=MemoryTable(rows.Token, "id", unique="hash"),
            shares=MemoryTable(rows.Share, "id", unique="hash"),
            dirs=set(),
        )
        tables = (getattr(self._rows, name) for name in Rows.__dataclass_fields__)
        self._tables: list[MemoryTable[Any]] = [t for t in tables if isinstance(t, MemoryTable)]

    async def write(self, run: Callable[[Rows], T]) -> T:
        before = [copy.copy(t.held) for t in self._tables]
        self._rows.dirs.clear()
        try:
            result = run(self._rows)
            for path in self._rows.dirs if self._durable else ():
                sync_folder(path)
        except BaseException:
            for table, held in zip(self._tables, before, strict=True):
                table.held = held
            raise
        return result

    async def read(self, query: Callable[[Rows], T]) -> T:
        for table in self._tables:
            table.frozen = True
        try:
            return query(self._rows)
        finally:
            for table in self._tables:
                table.frozen = False

    async def foreign_version(self) -> int:
        """There is no other process."""
        return 0

    async def scrub(self) -> None:
        """What was removed is nowhere."""

    async def close(self) -> None:
        """Nothing waits."""


def open_memory(root: Path, *, durable: bool = True) -> MemoryIndex:
    return MemoryIndex(durable=durable)
