"""Rows of the index as SQLite's: the statements are made of the rows' fields."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any, Generic, TypeVar

from agent.frame import Codec, ItemType
from agent.server.index import Below, From, Match, NoneOf, OneOf, Place, TakenError
from agent.server.index.rows import EventRow, ItemRow

R = TypeVar("R")
SIGNS: dict[type, str] = {
    Below: "<?",
    From: ">=?",
    OneOf: " IN (SELECT value FROM json_each(?))",
    NoneOf: " NOT IN (SELECT value FROM json_each(?))",
}
BOUND: dict[type, Callable[[Any], Any]] = {
    Below: attrgetter("value"),
    From: attrgetter("value"),
    OneOf: lambda match: json.dumps(match.values),
    NoneOf: lambda match: json.dumps(match.values),
}
WITH_EVENTS = " LEFT JOIN events e ON e.camera=items.camera AND e.spool=items.spool AND e.number=items.event"
STILL = f"items.type={int(ItemType.STILL)}"  # as it stands in the index `items_stills`
LATE = f"items.type={int(ItemType.CLIP)} AND items.wall_ns > e.at_ns + ?"
KINDS: dict[str, Callable[[Any], Any]] = {"type": ItemType, "codec": Codec, "kept": bool}


class SqliteTable(Generic[R]):
    """A table whose columns are named like the fields of its rows; strangers' texts are bound, never part of SQL."""

    def __init__(self, conn: sqlite3.Connection, name: str, row: type[R], *key: str) -> None:
        self._conn = conn
        self._name = name
        self._row: Any = row
        self._columns = tuple(f.name for f in fields(row))  # type: ignore[arg-type]
        self._key = key
        self._kinds = [(n, KINDS[c]) for n, c in enumerate(self._columns) if c in KINDS]
        self._identified = "id" in self._columns
        self._plain = tuple(c for c in self._columns if c not in (*key, "id"))
        self._statements: dict[tuple[Any, ...], str] = {}
        self._asked: dict[tuple[Any, ...], tuple[str, bool]] = {}  # with whether values are bound as they are
        self._forth = " ORDER BY " + ",".join(key)
        self._back = " ORDER BY " + ",".join(f"{c} DESC" for c in key)
        self._values = _getter(self._columns)
        self._changed = _getter((*self._plain, *key))
        self._id = self._columns.index("id") if self._identified else -1
        every = ",".join(self._columns)
        self._select = f"SELECT {every} FROM {name}"
        self._insert = f"INSERT INTO {name} ({every}) VALUES ({','.join('?' * len(self._columns))})"
        self._key_of = _getter(key)
        self._update = _updated(name, self._plain, key)

    def get(self, **where: Match) -> R | None:
        row = self._ask(self._select, where, " LIMIT 1").fetchone()
        return None if row is None else self._made(row)

    def find(self, limit: int | None = None, *, backwards: bool = False, **where: Match) -> list[R]:
        return self._all(self._back if backwards else self._forth, limit, where)

    def each(self) -> Iterator[R]:
        return map(self._made, self._conn.execute(self._select))

    def count(self, **where: Match) -> int:
        return int(self._ask(f"SELECT count(*) FROM {self._name}", where).fetchone()[0])

    def add(self, row: R) -> R:
        values = list(self._values(row))
        if self._identified:
            values[self._id] = values[self._id] or None
        try:
            cursor = self._conn.execute(self._insert, values)
        except sqlite3.IntegrityError as e:
            raise TakenError(str(e)) from None
        return replace(row, id=cursor.lastrowid) if self._identified else row  # type: ignore[type-var]

    def put(self, row: R) -> None:
        if not self._plain:
            if self.get(**{c: getattr(row, c) for c in self._key}) is None:
                self.add(row)
        elif not self._conn.execute(self._update, self._changed(row)).rowcount:
            self.add(row)

    def change(self, row: R, **new: Any) -> None:
        columns = tuple(c for c, value in new.items() if value != getattr(row, c))
        if not columns:
            return
        sql = self._statements.get(columns)
        if sql is None:
            sql = self._statements[columns] = _updated(self._name, columns, self._key)
        self._conn.execute(sql, (*[new[c] for c in columns], *self._key_of(row)))

    def remove(self, **where: Match) -> int:
        if not where:
            raise ValueError(f"remove everything from {self._name}?")
        return self._ask(f"DELETE FROM {self._name}", where).rowcount

    def _all(self, order: str, limit: int | None, where: dict[str, Match], *more: Any) -> list[R]:
        """`order`: what stands behind the conditions, with a place for each of `more`."""
        rows = self._ask(self._select, where, f"{order} LIMIT ?", *more, -1 if limit is None else limit)
        return [self._made(row) for row in rows]

    def _ask(self, head: str, where: dict[str, Match], tail: str = "", *more: Any) -> sqlite3.Cursor:
        """A statement between `head` and `tail`; made once for each shape of conditions."""
        values = where.values()
        shape = (head, tail, *where, *map(type, values))
        known = self._asked.get(shape)
        if known is None:
            plain = not any(type(m) in BOUND for m in values)
            known = self._asked[shape] = (f"{head} WHERE {self._conditions(where)}{tail}", plain)
        sql, plain = known
        return self._conn.execute(sql, (*(values if plain else map(_bound, values)), *more))

    def _conditions(self, where: dict[str, Match]) -> str:
        if unknown := where.keys() - set(self._columns):
            raise KeyError(f"{self._name} has no '{unknown.pop()}'")
        return " AND ".join(f"{self._name}.{c}{SIGNS.get(type(m), '=?')}" for c, m in where.items()) or "1"

    def _made(self, row: Any) -> R:
        if not self._kinds:
            return self._row(*row)  # type: ignore[no-any-return]
        values = list(row)
        for n, kind in self._kinds:
            values[n] = kind(values[n])
        return self._row(*values)  # type: ignore[no-any-return]


class SqliteItems(SqliteTable[ItemRow]):
    """The stored items; of those that are equal otherwise, the one that came first comes first."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        super().__init__(conn, "items", ItemRow, "camera", "spool", "seq")

    def newest(self, limit: int, before: Place | None = None, **where: Match) -> list[ItemRow]:
        order = " ORDER BY wall_ns DESC, spool DESC, seq DESC"
        if before is None:
            return self._all(order, limit, where)
        return self._all(f" AND (wall_ns, spool, seq) < (?, ?, ?){order}", limit, where, *before)

    def used(self, **where: Match) -> tuple[int, int]:
        row = self._ask("SELECT count(*), COALESCE(SUM(bytes), 0) FROM items", where).fetchone()
        return int(row[0]), int(row[1])

    def expendable(self, limit: int, *, head_ns: int | None = None, **where: Match) -> list[ItemRow]:
        if head_ns is None:
            return self._oldest(limit, where, "1")
        found = self._oldest(limit, where, STILL)
        for worth in (LATE, f"NOT {STILL} AND NOT COALESCE({LATE}, 0)"):
            if len(found) < limit:
                found += self._oldest(limit - len(found), where, worth, head_ns)
        return found

    def _oldest(self, limit: int, where: dict[str, Match], worth: str, *more: int) -> list[ItemRow]:
        """In the order of an index: what is sorted by its worth is sorted as a whole, for a few of it."""
        head = f"SELECT {','.join(f'items.{c}' for c in self._columns)} FROM items{WITH_EVENTS}"
        tail = f" AND {worth} AND COALESCE(e.kept, 0)=0 ORDER BY items.stored_ns, items.id LIMIT ?"
        return [self._made(row) for row in self._ask(head, where, tail, *more, limit)]


class SqliteEvents(SqliteTable[EventRow]):
    """The events."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        super().__init__(conn, "events", EventRow, "camera", "spool", "number")

    def newest(self, limit: int, before: tuple[int, int] | None = None, **where: Match) -> list[EventRow]:
        order = " ORDER BY at_ns DESC, id DESC"
        if before is None:
            return self._all(order, limit, where)
        return self._all(f" AND (at_ns, id) < (?, ?){order}", limit, where, *before)


def _getter(columns: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    get = attrgetter(*columns)
    return get if len(columns) > 1 else lambda row: (get(row),)


def _updated(name: str, columns: tuple[str, ...], key: tuple[str, ...]) -> str:
    return f"UPDATE {name} SET {','.join(f'{c}=?' for c in columns)} WHERE {' AND '.join(f'{c}=?' for c in key)}"


def _bound(match: Match) -> Any:
    bound = BOUND.get(type(match))
    return match if bound is None else bound(match)
