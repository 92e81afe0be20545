"""Rows of the index as SQLite's: the statements are made of the rows' fields."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any, Generic, TypeVar

from agent.frame import Codec, ItemType
from agent.server.index import Below, From, Match, NoneOf, OneOf, TakenError
from agent.server.index.rows import EventRow, ItemRow

R = TypeVar("R")
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
        every = ",".join(self._columns)
        self._select = f"SELECT {every} FROM {name}"
        self._insert = f"INSERT INTO {name} ({every}) VALUES ({','.join('?' * len(self._columns))})"
        self._update = f"UPDATE {name} SET {','.join(f'{c}=?' for c in self._plain)}{_where(key)}"

    def get(self, **where: Match) -> R | None:
        sql, args = self._matching(where)
        row = self._conn.execute(f"{self._select}{sql} LIMIT 1", args).fetchone()
        return None if row is None else self._made(row)

    def find(self, limit: int | None = None, *, backwards: bool = False, **where: Match) -> list[R]:
        return self._all(",".join(f"{c} DESC" if backwards else c for c in self._key), limit, where)

    def each(self) -> Iterator[R]:
        return map(self._made, self._conn.execute(self._select))

    def count(self, **where: Match) -> int:
        sql, args = self._matching(where)
        return int(self._conn.execute(f"SELECT count(*) FROM {self._name}{sql}", args).fetchone()[0])

    def add(self, row: R) -> R:
        values = [getattr(row, c) for c in self._columns]
        if self._identified:
            values[self._columns.index("id")] = getattr(row, "id") or None  # noqa: B009
        try:
            cursor = self._conn.execute(self._insert, values)
        except sqlite3.IntegrityError as e:
            raise TakenError(str(e)) from None
        return replace(row, id=cursor.lastrowid) if self._identified else row  # type: ignore[type-var]

    def put(self, row: R) -> None:
        key = [getattr(row, c) for c in self._key]
        if not self._plain:
            if self.get(**dict(zip(self._key, key, strict=True))) is None:
                self.add(row)
        elif not self._conn.execute(self._update, [*(getattr(row, c) for c in self._plain), *key]).rowcount:
            self.add(row)

    def remove(self, **where: Match) -> int:
        if not where:
            raise ValueError(f"remove everything from {self._name}?")
        sql, args = self._matching(where)
        return self._conn.execute(f"DELETE FROM {self._name}{sql}", args).rowcount

    def _all(self, order: str, limit: int | None, where: dict[str, Match], more: str = "", *args: Any) -> list[R]:
        sql, found = self._matching(where)
        if more:
            sql = f"{sql} AND {more}" if sql else f" WHERE {more}"
        last = -1 if limit is None else limit
        rows = self._conn.execute(f"{self._select}{sql} ORDER BY {order} LIMIT ?", [*found, *args, last])
        return [self._made(row) for row in rows]

    def _matching(self, where: dict[str, Match]) -> tuple[str, list[Any]]:
        parts, args = [], []
        for column, match in where.items():
            if column not in self._columns:
                raise KeyError(f"{self._name} has no '{column}'")
            part, arg = _condition(match)
            parts.append(f"{self._name}.{column}{part}")
            args.append(arg)
        return (" WHERE " + " AND ".join(parts) if parts else ""), args

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

    def newest(self, limit: int, **where: Match) -> list[ItemRow]:
        return self._all("wall_ns DESC, items.id DESC", limit, where)

    def used(self, **where: Match) -> tuple[int, int]:
        sql, args = self._matching(where)
        row = self._conn.execute(f"SELECT count(*), COALESCE(SUM(bytes), 0) FROM items{sql}", args).fetchone()
        return int(row[0]), int(row[1])

    def expendable(self, limit: int, *, head_ns: int | None = None, **where: Match) -> list[ItemRow]:
        sql, args = self._matching(where)
        order, head = "", []
        if head_ns is not None:
            order = "CASE WHEN items.type=? THEN 0 WHEN items.type=? AND items.wall_ns > e.at_ns + ? THEN 1 ELSE 2 END,"
            head = [int(ItemType.STILL), int(ItemType.CLIP), head_ns]
        every = ",".join(f"items.{c}" for c in self._columns)
        rows = self._conn.execute(
            f"SELECT {every} FROM items LEFT JOIN events e ON e.camera=items.camera AND e.spool=items.spool"
            f" AND e.number=items.event{sql} {'AND' if sql else 'WHERE'} COALESCE(e.kept, 0)=0"
            f" ORDER BY {order} items.stored_ns, items.id LIMIT ?",
            [*args, *head, limit],
        )
        return [self._made(row) for row in rows]


class SqliteEvents(SqliteTable[EventRow]):
    """The events."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        super().__init__(conn, "events", EventRow, "camera", "spool", "number")

    def newest(self, limit: int, before: tuple[int, int] | None = None, **where: Match) -> list[EventRow]:
        more = ("(at_ns, id) < (?, ?)", *before) if before is not None else ("",)
        return self._all("at_ns DESC, id DESC", limit, where, *more)


def _where(columns: tuple[str, ...]) -> str:
    return " WHERE " + " AND ".join(f"{c}=?" for c in columns)


def _condition(match: Match) -> tuple[str, Any]:
    match match:
        case Below(value):
            return "<?", value
        case From(value):
            return ">=?", value
        case OneOf(values):
            return " IN (SELECT value FROM json_each(?))", json.dumps(values)
        case NoneOf(values):
            return " NOT IN (SELECT value FROM json_each(?))", json.dumps(values)
    return "=?", match
