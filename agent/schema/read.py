"""Plain values, as YAML and JSON give them, to objects of dataclasses; all that is wrong is told at once.

Nothing is guessed: text that looks like a number is text. A whole number may stand where any number may, and 5.0
where a whole one may.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from agent.schema import Limit

Where = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """`where`: keys and indices from the outermost value on. `kind`: missing, unknown, what it should be
    (text, number) or ""."""

    where: Where
    text: str
    kind: str = ""


class MismatchError(ValueError):
    """Everything that is wrong with a value."""

    def __init__(self, found: Sequence[Mismatch]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, m.where))}: {m.text}" for m in found))
        self.found = found


def read(shape: Any, value: Any, *, unknown: bool = False) -> Any:
    """`value` as `shape`: a dataclass, or any type that one may have in a field.

    Raises MismatchError, and what a dataclass raises for values that are right one by one. `unknown`: keys that no
    field has are passed over.
    """
    reader = _Reader(unknown)
    made = reader.read(shape, value, ())
    if reader.found:
        raise MismatchError(reader.found)
    return made


class _Reader:
    """Collects what is wrong; what it returns then is nothing that anybody uses."""

    def __init__(self, unknown: bool) -> None:
        self.found: list[Mismatch] = []
        self._unknown = unknown

    def read(self, shape: Any, value: Any, where: Where) -> Any:
        if dataclasses.is_dataclass(shape):
            return self._object(shape, value, where)
        origin = get_origin(shape)
        if make := _MANY.get(origin):
            return make(self, get_args(shape), value, where)
        if shape is Any:
            return value
        fits, name = _PLAIN[shape]
        made = fits(value)
        if made is None:
            self._wrong(where, f"input should be {name}", {str: "text", int: "number", float: "number"}.get(shape, ""))
        return made

    def _wrong(self, where: Where, text: str, kind: str = "") -> None:
        self.found.append(Mismatch(where, text, kind))

    def _object(self, cls: Any, value: Any, where: Where) -> Any:
        if not isinstance(value, Mapping):
            return self._wrong(where, "input should be a mapping of keys")
        fields, before = _fields(cls), len(self.found)
        values = {}
        for name, (shape, needed) in fields.items():
            if name in value:
                values[name] = self.read(shape, value[name], (*where, name))
            elif needed:
                self._wrong((*where, name), "is missing", "missing")
        for key in value:
            if key not in fields and not self._unknown:
                self._wrong((*where, str(key)), f"unknown key '{key}'", "unknown")
        return cls(**values) if len(self.found) == before else None

    def _limited(self, args: tuple[Any, ...], value: Any, where: Where) -> Any:
        before = len(self.found)
        made = self.read(args[0], value, where)
        if len(self.found) == before:
            texts = [text for limit in args[1:] if isinstance(limit, Limit) and (text := limit.complaint(made))]
            for text in texts[:1]:
                self._wrong(where, text)
        return made

    def _either(self, args: tuple[Any, ...], value: Any, where: Where) -> Any:
        shapes = [a for a in args if a is not types.NoneType]
        if value is None and len(shapes) < len(args):
            return None
        if len(shapes) > 1 and all(map(dataclasses.is_dataclass, shapes)):
            return self._kind(shapes, value, where)
        if len(shapes) == 1:
            return self.read(shapes[0], value, where)
        for shape in shapes:
            attempt = _Reader(self._unknown)
            made = attempt.read(shape, value, where)
            if not attempt.found:
                return made
        return self._wrong(where, f"input should be {' or '.join(map(_name, shapes))}")

    def _kind(self, shapes: list[Any], value: Any, where: Where) -> Any:
        """Of several dataclasses the one whose `type` is the value's."""
        kinds = {word: shape for shape in shapes for word in get_args(_fields(shape)["type"][0])}
        kind = value.get("type") if isinstance(value, Mapping) else None
        if isinstance(kind, str) and kind in kinds:
            return self._object(kinds[kind], value, where)
        return self._wrong((*where, "type"), f"input should be {_words(tuple(kinds))}")

    def _literal(self, args: tuple[Any, ...], value: Any, where: Where) -> Any:
        if not any(type(word) is type(value) and word == value for word in args):
            self._wrong(where, f"input should be {_words(args)}")
        return value

    def _tuple(self, args: tuple[Any, ...], value: Any, where: Where) -> Any:
        if not isinstance(value, list | tuple):
            return self._wrong(where, "input should be a list")
        shapes = args[:1] * len(value) if args[1:] == (...,) else args
        if len(shapes) != len(value):
            return self._wrong(where, f"input should be a list of {len(shapes)}")
        return tuple(self.read(s, v, (*where, i)) for i, (s, v) in enumerate(zip(shapes, value, strict=True)))

    def _mapping(self, args: tuple[Any, ...], value: Any, where: Where) -> Any:
        if not isinstance(value, Mapping):
            return self._wrong(where, "input should be a mapping")
        key, entry = args
        return {self.read(key, k, (*where, str(k))): self.read(entry, v, (*where, str(k))) for k, v in value.items()}


_MANY: Mapping[Any, Callable[[_Reader, tuple[Any, ...], Any, Where], Any]] = {
    Annotated: _Reader._limited,
    Union: _Reader._either,
    types.UnionType: _Reader._either,
    Literal: _Reader._literal,
    tuple: _Reader._tuple,
    dict: _Reader._mapping,
    Mapping: _Reader._mapping,
}


def _whole(value: Any) -> int | None:
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _number(value: Any) -> float | None:
    try:
        return float(value) if type(value) in (int, float) and math.isfinite(value) else None
    except OverflowError:  # a whole one beyond all fractions
        return None


def _text(value: Any) -> str | None:
    try:
        return value if type(value) is str and value.encode() is not None else None
    except UnicodeEncodeError:  # half a pair of surrogates: nobody could write it down
        return None


_PLAIN: Mapping[Any, tuple[Callable[[Any], Any], str]] = {
    bool: (lambda value: value if type(value) is bool else None, "true or false"),
    int: (_whole, "a valid integer"),
    float: (_number, "a valid number"),
    str: (_text, "text"),
}


@lru_cache(maxsize=32)
def _fields(cls: Any) -> dict[str, tuple[Any, bool]]:
    """By name: the type, and whether a value must be given."""
    hints = get_type_hints(cls, include_extras=True)
    nothing = dataclasses.MISSING
    return {
        f.name: (hints[f.name], f.default is nothing and f.default_factory is nothing)
        for f in dataclasses.fields(cls)
        if f.init
    }


def _name(shape: Any) -> str:
    return _PLAIN[shape][1] if shape in _PLAIN else "a list"


def _words(words: tuple[Any, ...]) -> str:
    *most, last = map(repr, words)
    return f"{', '.join(most)} or {last}" if most else last
