"""What settings and requests look like: types, and limits beside them as in `Annotated[int, at_least(1)]`.

`read` makes objects of what YAML or JSON gave, `describe` says the same as JSON Schema.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LIMITS: Mapping[str, tuple[Callable[[Any, Any], object], str]] = {
    "minimum": (operator.ge, "be greater than or equal to {}"),
    "exclusiveMinimum": (operator.gt, "be greater than {}"),
    "maximum": (operator.le, "be less than or equal to {}"),
    "exclusiveMaximum": (operator.lt, "be less than {}"),
    "minLength": (lambda text, n: len(text) >= n, "have a length of at least {}"),
    "maxLength": (lambda text, n: len(text) <= n, "have a length of at most {}"),
    "maxProperties": (lambda entries, n: len(entries) <= n, "have at most {} entries"),
    "pattern": (lambda text, pattern: re.fullmatch(pattern, text), "look like {}"),
}
"""Keywords of JSON Schema (2020-12, validation): what each asks of a value, and how that is said."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A keyword of LIMITS and what it is given."""

    keyword: str
    given: Any

    def complaint(self, value: Any) -> str:
        """What is wrong with `value`, "" for nothing."""
        holds, says = LIMITS[self.keyword]
        return "" if holds(value, self.given) else f"input should {says.format(self.given)}"


def at_least(n: float) -> Limit:
    return Limit("minimum", n)


def above(n: float) -> Limit:
    return Limit("exclusiveMinimum", n)


def at_most(n: float) -> Limit:
    return Limit("maximum", n)


def below(n: float) -> Limit:
    return Limit("exclusiveMaximum", n)


def min_letters(n: int) -> Limit:
    return Limit("minLength", n)


def max_letters(n: int) -> Limit:
    return Limit("maxLength", n)


def max_entries(n: int) -> Limit:
    """Of a mapping."""
    return Limit("maxProperties", n)


def matches(pattern: str) -> Limit:
    """The whole text does, from ^ to $."""
    return Limit("pattern", pattern)
