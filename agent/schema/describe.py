"""Types as JSON Schema (2020-12), which is what OpenAPI 3.1 wants."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

REF = "#/components/schemas/"
"""Where OpenAPI keeps the types that have names."""
_PLAIN: Mapping[Any, dict[str, Any]] = {
    Any: {},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    types.NoneType: {"type": "null"},
}


def describe(shape: Any, named: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type. Those of dataclasses and TypedDicts go into `named` and are referred to."""
    if dataclasses.is_dataclass(shape) or is_typeddict(shape):
        name = getattr(shape, "__name__", "")
        if name not in named:
            named[name] = _object(shape, named)
        return {"$ref": REF + name}
    origin, args = get_origin(shape), get_args(shape)
    if origin is Annotated:
        return describe(args[0], named) | {limit.keyword: limit.given for limit in args[1:]}
    if origin in (Union, types.UnionType):
        return {"anyOf": [describe(a, named) for a in args]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin is list or args[1:] == (...,):
        return {"type": "array", "items": describe(args[0], named)}
    if origin is dict:
        return {"type": "object", "additionalProperties": describe(args[1], named)}
    return dict(_PLAIN[shape])


def _object(shape: Any, named: dict[str, Any]) -> dict[str, Any]:
    """A dataclass takes no other keys than its own; what a TypedDict describes may get more."""
    hints = get_type_hints(shape, include_extras=True)
    schema: dict[str, Any] = {"type": "object"}
    if shape.__doc__ and not shape.__doc__.startswith(f"{shape.__name__}("):
        schema["description"] = " ".join(shape.__doc__.split())
    if dataclasses.is_dataclass(shape):
        fields = [f for f in dataclasses.fields(shape) if f.init]
        nothing = dataclasses.MISSING
        needed = [f.name for f in fields if f.default is nothing and f.default_factory is nothing]
        properties = {f.name: describe(hints[f.name], named) for f in fields}
        for f in fields:
            if f.default is not nothing:
                properties[f.name]["default"] = f.default
        schema["additionalProperties"] = False
    else:
        needed = [name for name, hint in hints.items() if get_origin(hint) is not NotRequired]
        plain = {name: get_args(h)[0] if get_origin(h) is NotRequired else h for name, h in hints.items()}
        properties = {name: describe(hint, named) for name, hint in plain.items()}
    return schema | {"properties": properties, "required": needed}
