"""What settings and requests may be: read and description agree, and every mistake is told at its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.schema import above, at_least, at_most, below, matches, max_entries, max_letters, min_letters
from agent.schema.describe import REF, describe
from agent.schema.read import MismatchError, read


@dataclass(frozen=True, slots=True)
class Zone:
    name: Annotated[str, min_letters(1), max_letters(3)]
    points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    type: Literal["mail"]
    to: Annotated[str, matches(r"^[^\r\n@]+@[^\r\n]+$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    type: Literal["hook"]
    port: Annotated[int, at_least(1), below(10)] = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    on: bool
    rate: Annotated[float, above(0), at_most(60)] = 5.0
    device: int | str = 0
    mode: Literal["a", 2, None] = "a"
    zones: tuple[Zone, ...] = ()
    tell: tuple[Mail | Hook, ...] = ()
    words: tuple[str, ...] | str = ()
    args: Annotated[dict[str, int | float], max_entries(1)] = field(default_factory=dict)
    headers: Mapping[str, str | None] | None = None

    def __post_init__(self) -> None:
        if self.rate == 13:
            raise RuntimeError("an unlucky rate")


def complaints(shape: Any, value: Any) -> list[str]:
    with pytest.raises(MismatchError) as e:
        read(shape, value)
    return [f"{'/'.join(map(str, m.where))}: {m.text}" for m in e.value.found]


def test_what_fits_becomes_the_object() -> None:
    value = {
        "on": True,
        "rate": 7,
        "device": "/dev/video0",
        "mode": 2,
        "zones": [{"name": "a", "points": [[0, 0.5], [1, 1]]}],
        "tell": [{"type": "hook"}, {"type": "mail", "to": "a@b"}],
        "words": ["x"],
        "args": {"n": 1},
        "headers": {"Host": None},
    }
    assert read(Settings, value) == Settings(
        on=True,
        rate=7.0,
        device="/dev/video0",
        mode=2,
        zones=(Zone("a", ((0.0, 0.5), (1.0, 1.0))),),
        tell=(Hook(type="hook"), Mail(type="mail", to="a@b")),
        words=("x",),
        args={"n": 1},
        headers={"Host": None},
    )
    assert type(read(Settings, {"on": True, "rate": 7}).rate) is float


def test_everything_wrong_is_told_at_once_and_where() -> None:
    value = {
        "rate": 61,
        "device": True,
        "mode": "b",
        "zones": [{"name": "long", "points": [[0, "1"], [1]]}, 7, {"nam": "a"}],
        "tell": [{"type": "sms"}, {"type": "hook", "port": 10}],
        "words": [1],
        "args": {"n": 1, "m": 2},
        "odd": 1,
    }
    assert complaints(Settings, value) == [
        "on: is missing",
        "rate: input should be less than or equal to 60",
        "device: input should be a valid integer or text",
        "mode: input should be 'a', 2 or None",
        "zones/0/name: input should have a length of at most 3",
        "zones/0/points/0/1: input should be a valid number",
        "zones/0/points/1: input should be a list of 2",
        "zones/1: input should be a mapping of keys",
        "zones/2/name: is missing",
        "zones/2/nam: unknown key 'nam'",
        "tell/0/type: input should be 'mail' or 'hook'",
        "tell/1/port: input should be less than 10",
        "words: input should be a list or text",
        "args: input should have at most 1 entries",
        "odd: unknown key 'odd'",
    ]


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        (int, True),
        (int, "5"),
        (int, 5.5),
        (float, "5"),
        (float, float("nan")),
        (float, float("inf")),
        (float, 10**400),
        (bool, 1),
        (bool, "yes"),
        (str, 5),
        (str, None),
        (str, "\ud800"),
        (Literal[1], True),
        (tuple[str, ...], "abc"),
        (Annotated[str, matches("^[a-z]+$")], "abc\n"),
        (dict[str, int], {1: 1}),
        (Settings, [("on", True)]),
    ],
)
def test_nothing_is_guessed(shape: Any, value: Any) -> None:
    assert len(complaints(shape, value)) == 1


def test_a_newer_programs_keys_can_be_passed_over() -> None:
    zone = {"name": "a", "colour": "red"}
    assert read(Settings, {"on": False, "zones": [zone], "x": 1}, unknown=True).zones == (Zone("a"),)


def test_what_an_object_says_against_its_values_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="unlucky"):
        read(Settings, {"on": True, "rate": 13})


class Answer(TypedDict):
    """What
    came of it."""

    ok: bool
    zone: Hook
    result: NotRequired[Any]


def test_the_description_names_types_and_says_what_must_be_there() -> None:
    named: dict[str, Any] = {}
    assert describe(Answer, named) == {"$ref": f"{REF}Answer"}
    assert named["Answer"] == {
        "type": "object",
        "description": "What came of it.",
        "properties": {"ok": {"type": "boolean"}, "zone": {"$ref": f"{REF}Hook"}, "result": {}},
        "required": ["ok", "zone"],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """As requests have them."""

    name: Annotated[str, matches(r"^[a-z]{1,3}$")]
    n: Annotated[int, at_least(0), below(3)] | None = None
    life: Annotated[float, above(0), at_most(2)] = 1.0
    how: Literal["keep", "burn"] = "keep"
    args: Annotated[dict[str, int | float], max_entries(1)] = field(default_factory=dict)
    kept: bool = False


VALUES = {
    "name": st.sampled_from(["abc", "abcd", "", 1, None]),
    "n": st.sampled_from([None, 0, 2, 3, -1, 1.0, 1.5, "1", True]),
    "life": st.sampled_from([0, 0.1, 2, 2.5, "1", None, False]),
    "how": st.sampled_from(["keep", "burn", "eat", None, 1]),
    "args": st.sampled_from([{}, {"a": 1}, {"a": 0.5}, {"a": 1, "b": 2}, {"a": "1"}, {"a": True}, [], None]),
    "kept": st.sampled_from([True, False, 0, "true", None]),
    "odd": st.just(1),
}


@given(st.fixed_dictionaries({}, optional=VALUES) | st.sampled_from([None, [], "x", 3]))
def test_read_takes_what_the_description_allows_and_nothing_else(value: Any) -> None:
    validator = pytest.importorskip("jsonschema", reason="pip install -e .[test]: NOT compared").Draft202012Validator
    named: dict[str, Any] = {}
    described = describe(Body, named) | {"components": {"schemas": named}}
    try:
        read(Body, value)
        fits = True
    except MismatchError:
        fits = False
    assert fits == validator(described).is_valid(value)
