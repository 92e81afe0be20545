"""YAML to a validated model; every error names file:line:column, the key and, where it can, a suggestion.

YAML is read as text with few types (true/false, numbers, null): `off`, `22:30` and `010` stay what was
written, and a key that stands twice is an error.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import yaml

from agent.errors import ConfigError
from agent.schema.read import MismatchError, read

Complain = Callable[[str, str], None]
"""Told where (`routes[2].to`, "" for the file) and what is wrong there."""
Check = Callable[[dict[str, Any], Complain], None]


class Loadable(Protocol):
    """A registry row: `load()` gives the settings class of a `type:` word."""

    def load(self) -> type[Any]: ...


class _Loader(yaml.CSafeLoader):
    """YAML 1.1's surprises taken out."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:int", r"^(?:[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+)$", "-+0123456789"),
    ("tag:yaml.org,2002:float", r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, at a 1-based line and column of the file."""

    line: int
    column: int
    text: str
    width: int = 1


@dataclass(frozen=True, slots=True)
class Field:
    """What may stand under a key.

    `cls`: a settings class; `lazy`: one that is imported when the key is there. `kinds`: a registry, chosen
    by the mapping's `type:`. `many`: "" for one, "list", or "map" (names to values). `default`: the value
    when the key is missing; REQUIRED if it may not be.
    """

    cls: Any = None
    kinds: Mapping[str, Loadable] | None = None
    many: str = ""
    default: Any = None
    fields: Mapping[str, Field] | None = None
    lazy: Loadable | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What goes to stderr or the journal: debug, info, warning or error and above."""

    level: str = "info"

    def __post_init__(self) -> None:
        if self.level not in ("debug", "info", "warning", "error"):
            raise ConfigError(f"level '{self.level}' is not one of debug, info, warning, error")


REQUIRED: Any = object()
MAX_FILE_BYTES = 1024 * 1024
SHOWN = 160
"""Letters of a line that an error shows."""
MOST_SAID = 500
MOST_SHOWN = 200
_KEY = re.compile(r"""\b(\w{3,30})["']?\s*:""")
_SECRETS = ("password", "token", "secret")
_SECRET = r"""(?ix)
    ^\s* (?:-\s+)? ["']?(?:KEYS)["']? \s*:\s* (\S.*)  # to the line's end
    | \b(?:KEYS)["']? \s*:\s* ("(?:\\.|[^"\\])*"? | '[^']*'? | [^,}\]]+)  # within {braces}
    | :// ([^\s"']{0,500}) @
    | [?&] [^=&\s]{0,100} = ([^&\s"',}]+)
    """
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Reader:
    """Reads one file after a tree of Fields and collects all its problems."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.lines = text.splitlines()
        self.problems: list[Problem] = []
        self._text = text
        self._places: dict[str, yaml.Node] = {}

    def read(self, fields: Mapping[str, Field], check: Check | None = None) -> dict[str, Any]:
        """The values by key; raises ConfigError with all problems at once.

        `check` looks at values that are right one by one, and complains of those that do not fit together.
        """
        values: dict[str, Any] = {}
        node = self._compose()
        if node is not None:
            self._places[""] = node
            values = self._section(node, fields, "")
        if check is not None and not self.problems:
            check(values, lambda where, text: self._error(self._places[where], f"{where}: {text}" if where else text))
        if self.problems:
            shown = [self._show(p) for p in sorted(self.problems, key=_place)[:MOST_SHOWN]]
            more = len(self.problems) - len(shown)
            raise ConfigError("\n".join([*shown, *([f"{self.path}: and {more} more errors"] if more else [])]))
        return values

    def _compose(self) -> yaml.Node | None:
        try:
            node = yaml.compose(self._text, Loader=_Loader)
        except yaml.MarkedYAMLError as e:
            mark = e.problem_mark or e.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            tab = self._text[mark.index : mark.index + 1] == "\t" if mark else False
            why = "a tab: indent with spaces" if tab else e.problem or e.context
            self.problems.append(Problem(line, column, f"not YAML: {why}"))
            return None
        except yaml.reader.ReaderError as e:
            self.problems.append(Problem(*_at(self._text.encode(), e.position), f"not YAML: {str(e).splitlines()[0]}"))
            return None
        if node is None:
            self.problems.append(Problem(1, 1, "the file is empty"))
        return node

    def _error(self, node: yaml.Node, text: str) -> None:
        mark = node.start_mark
        width = len(node.value) if isinstance(node, yaml.ScalarNode) and "\n" not in node.value else 1
        self.problems.append(Problem(mark.line + 1, mark.column + 1, text, max(width, 1)))

    def _keys(self, node: yaml.Node, known: Sequence[str], where: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The mapping's known keys; complains of what is no mapping, unknown or stands twice."""
        if not isinstance(node, yaml.MappingNode):
            keys = f" ({', '.join(known)})" if known else ""
            self._error(node, f"{where or 'the file'}: expected a mapping of keys{keys}")
            return {}
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            if key in found:
                self._error(key_node, f"key '{key}' stands twice, first in line {found[key][0].start_mark.line + 1}")
            elif known and key not in known:
                self._error(key_node, f"unknown key '{key}'{_suggest(key, known)}")
            else:
                found[key] = (key_node, value_node)
        return found

    def _section(self, node: yaml.Node, fields: Mapping[str, Field], where: str) -> dict[str, Any]:
        found = self._keys(node, tuple(fields), where)
        values: dict[str, Any] = {}
        for key, field in fields.items():
            path = f"{where}.{key}" if where else key
            if key in found:
                values[key] = self._many(found[key][1], field, path)
            elif field.default is REQUIRED:
                self._error(node, f"missing key '{path}'")
            else:
                values[key] = field.default
        return values

    def _many(self, node: yaml.Node, field: Field, where: str) -> Any:
        self._places[where] = node
        if field.many == "list":
            if not isinstance(node, yaml.SequenceNode):
                self._error(node, f"{where}: expected a list (lines that start with '- ')")
                return []
            return [self._value(n, field, f"{where}[{i}]") for i, n in enumerate(node.value)]
        if field.many == "map":
            out = {}
            for name, (key_node, value_node) in self._keys(node, (), where).items():
                if not NAME.fullmatch(name):
                    self._error(key_node, f"{where}: '{name}' is no name (a-z, 0-9 and -, at most 63)")
                out[name] = self._value(value_node, field, f"{where}.{name}")
            return out
        return self._value(node, field, where)

    def _value(self, node: yaml.Node, field: Field, where: str) -> Any:
        self._places[where] = node
        if field.fields is not None:
            return self._section(node, field.fields, where)
        if field.kinds is not None:
            return self._kind(node, field.kinds, where)
        cls = field.lazy.load() if field.lazy else field.cls
        if cls is not None and dataclasses.is_dataclass(cls):
            return self._object(node, cls, where, ())
        return self._plain(node, cls, where)

    def _kind(self, node: yaml.Node, kinds: Mapping[str, Loadable], where: str) -> Any:
        """A mapping whose `type:` picks the class."""
        if not isinstance(node, yaml.MappingNode):
            self._error(node, f"{where}: expected a mapping with 'type: {' | '.join(kinds)}'")
            return None
        for key_node, value_node in node.value:
            if key_node.value == "type":
                name = value_node.value if isinstance(value_node, yaml.ScalarNode) else "?"
                if name in kinds:
                    return self._object(node, kinds[name].load(), where, ("type",))
                self._error(value_node, f"unknown type '{name}'{_suggest(name, tuple(kinds), brief=False)}")
                return None
        self._error(node, f"{where}: missing key 'type' (one of {', '.join(kinds)})")
        return None

    def _object(self, node: yaml.Node, cls: type[Any], where: str, extra: tuple[str, ...]) -> Any:
        names = tuple(f.name for f in dataclasses.fields(cls) if f.init)
        found = self._keys(node, (*extra, *names), where)
        data = {k: self._construct(v) for k, (_, v) in found.items() if k not in extra}
        self._places.update({f"{where}.{k}": v for k, (_, v) in found.items()})
        try:
            return read(cls, data)
        except ConfigError as e:
            self._error(node, f"{where}: {e}")
        except MismatchError as e:
            self._mismatches(e, {k: v for k, (_, v) in found.items()}, node, where)
        return None

    def _plain(self, node: yaml.Node, cls: Any, where: str) -> Any:
        try:
            return read(cls, self._construct(node))
        except MismatchError as e:
            self._mismatches(e, {}, node, where)
            return None

    def _mismatches(self, error: MismatchError, keys: Mapping[str, yaml.Node], node: yaml.Node, where: str) -> None:
        """Show each at its own place, or at the nearest one around it that the file has."""
        for m in error.found:
            at, path = node, where
            for step in m.where:
                at = (keys if at is node else _inside(at)).get(str(step), at)
                path += f"[{step}]" if isinstance(step, int) else f".{step}"
            if m.kind == "missing":
                self._error(at, f"missing key '{path}'")
            elif m.kind == "text" and isinstance(at, yaml.ScalarNode) and at.value:
                self._error(at, f"{path}: expected text: write it in quotes")
            elif m.kind == "number" and isinstance(at, yaml.ScalarNode) and at.style in ("'", '"'):
                self._error(at, f"{path}: {m.text}: write it without quotes")
            else:
                self._error(at, f"{path}: {m.text}")

    def _construct(self, node: yaml.Node) -> Any:
        loader = _Loader("")
        try:
            return loader.construct_document(node)
        except yaml.MarkedYAMLError as e:
            self._error(node, f"not a plain value: {e.problem}")
            return None
        except (ValueError, KeyError, AttributeError):  # PyYAML's own, of `!!int porch` and the like
            self._error(node, "not a plain value: its tag does not fit")
            return None
        finally:
            loader.dispose()

    def _show(self, p: Problem) -> str:
        line = _masked(self.lines[p.line - 1]) if p.line <= len(self.lines) else ""
        left = max(0, p.column - 1 - SHOWN // 2)  # a long line is shown around its error
        line, column = line[left : left + SHOWN], p.column - left
        caret = " " * (column - 1) + "^" * max(1, min(p.width, len(line) - column + 1))
        text = p.text if len(p.text) <= MOST_SAID else p.text[:MOST_SAID] + "…"
        return f"{self.path}:{p.line}:{p.column}: error: {text}\n{p.line:6d} | {line}\n       | {caret}"


def read_file(path: Path, fields: Mapping[str, Field], check: Check | None = None) -> dict[str, Any]:
    """The values of a YAML file after `fields` and `check`; raises ConfigError that shows every problem."""
    try:
        with path.open("rb") as f:
            data = f.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: longer than {MAX_FILE_BYTES} bytes")
        text = data.decode("utf-8")
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}") from None
    except UnicodeDecodeError as e:
        line, column = _at(data, e.start)
        raise ConfigError(f"{path}:{line}:{column}: error: not UTF-8 text") from None
    return Reader(str(path), text).read(fields, check)


@lru_cache(maxsize=4)
def _masked(line: str) -> str:
    """The line without its secrets, at the same width: errors go to logs."""

    def stars(found: re.Match[str]) -> str:
        at, end = (n - found.start() for n in found.span(found.lastindex or 0))
        return found[0][:at] + "*" * (end - at) + found[0][end:]

    keys = {*_SECRETS, *filter(_secret, set(_KEY.findall(line)))}
    return re.sub(_SECRET.replace("KEYS", "|".join(keys)), stars, line)


def _secret(key: str) -> bool:
    """Whether a secret may stand behind it, also where it is misspelt: that is an error, and shown."""
    import difflib  # only mistakes need it

    return not key.endswith("_file") and bool(difflib.get_close_matches(key.lower(), _SECRETS, 1, 0.6))


def _suggest(word: str, known: Sequence[str], brief: bool = True) -> str:
    """The word that was meant, and all that could have been: `brief` where that one is enough."""
    import difflib  # only mistakes need it

    near = difflib.get_close_matches(word, known, 1, 0.6)
    meant = f", did you mean '{near[0]}'?" if near else ""
    return meant if near and brief else f"{meant} (one of {', '.join(known)})"


def _inside(node: yaml.Node) -> dict[str, yaml.Node]:
    """What stands in a mapping or a list, by key or number."""
    if isinstance(node, yaml.SequenceNode):
        return {str(i): n for i, n in enumerate(node.value)}
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return {k.value: v for k, v in pairs if isinstance(k, yaml.ScalarNode)}


def _at(data: bytes, offset: int) -> tuple[int, int]:
    """Line and column of a byte of UTF-8 text."""
    before = data[:offset]
    return before.count(b"\n") + 1, len(before.rpartition(b"\n")[2].decode("utf-8", "ignore")) + 1


def _place(p: Problem) -> tuple[int, int]:
    return p.line, p.column
