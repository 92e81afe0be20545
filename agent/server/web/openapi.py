"""The API's description (OpenAPI 3.1), made of the routes and of the types that they take and give."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.dispatch.problem import PROBLEM
from agent.schema.describe import describe as describe_type

BINARY: dict[str, Any] = {"type": "string", "contentMediaType": "application/octet-stream"}
PARAMETER = re.compile(r"\{(\w+)(?::((?:[^{}]|\{[^{}]*\})*))?\}")
PROBLEM_SCHEMA = "#/components/schemas/Problem"
_PROBLEM = {
    "type": "object",
    "required": ["title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


@dataclass(frozen=True, slots=True)
class Op:
    """One operation. `body` and `answer` are types with a JSON form.

    `media`: what an answer is that is not JSON, `ranges` where it takes Range and conditions; `takes`: what a body is.
    """

    summary: str
    answer: Any = None
    status: int = 200
    body: Any = None
    media: tuple[str, ...] = ()
    ranges: bool = False
    takes: tuple[str, ...] = ()
    query: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    errors: tuple[int, ...] = ()


class Declared(Protocol):
    """A route with its permission."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def access(self) -> Any: ...
    @property
    def op(self) -> Op | None: ...


def describe(routes: Iterable[Declared], version: str, cookie: str) -> dict[str, Any]:
    """The whole document; routes without an `op` are not part of the API. `cookie`: the session's."""
    schemas: dict[str, Any] = {"Problem": _PROBLEM}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if route.op is not None:
            path = PARAMETER.sub(r"{\1}", route.path)
            paths.setdefault(path, {})[route.method.lower()] = _operation(route, route.op, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "camera-agent",
            "version": version,
            "summary": "Virtual cameras, their events and their original bytes",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"password": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "An API token (POST /api/v1/tokens)"},
                "password": {"type": "http", "scheme": "basic", "description": "An API token as the password"},
                "session": {"type": "apiKey", "in": "cookie", "name": cookie, "description": "The page's"},
                "login": {"type": "http", "scheme": "basic", "description": "A camera's own, for its uploads"},
                "agent": {"type": "http", "scheme": "bearer", "description": "A camera's own token, likewise"},
            },
        },
    }


def _operation(route: Declared, op: Op, schemas: dict[str, Any]) -> dict[str, Any]:
    access = str(route.access.value)
    words = re.sub(r"\W+", " ", PARAMETER.sub(r"\1", route.path.removeprefix("/api/v1"))).split()
    what: dict[str, Any] = {
        "operationId": "_".join([route.method.lower(), *words]),
        "summary": op.summary,
        "tags": words[:1],
        "x-permission": access,
        "responses": _responses(op, schemas, access, route.path),
    }
    parameters = [_path_parameter(m) for m in PARAMETER.finditer(route.path)]
    parameters += [{"name": n, "in": "query", "required": False, "schema": s} for n, s in op.query.items()]
    if parameters:
        what["parameters"] = parameters
    if op.body is not None:
        content = {"application/json": {"schema": describe_type(op.body, schemas)}}
        what["requestBody"] = {"required": True, "content": content}
    elif op.takes:
        what["requestBody"] = {"required": True, "content": {kind: {"schema": BINARY} for kind in op.takes}}
    if access in ("open", "token"):
        what["security"] = [{"login": []}, {"agent": []}] if _of_a_camera(access, route.path) else []
    return what


def _path_parameter(match: re.Match[str]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "pattern": f"^{match[2] or '[^/]+'}$"}
    if match[2] and match[2].startswith(r"[0-9]"):
        schema = {"type": "integer", "minimum": 0, "maximum": 10**12}
    return {"name": match[1], "in": "path", "required": True, "schema": schema}


def _of_a_camera(access: str, path: str) -> bool:
    """Whether it asks for the login or the token of the camera that the path names."""
    return access == "token" and "{camera}" in path


def _responses(op: Op, schemas: dict[str, Any], access: str, path: str) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "Done" if op.status == 204 else "As asked"}
    if op.answer is not None:
        good["content"] = {"application/json": {"schema": describe_type(op.answer, schemas)}}
    elif op.media:
        good["content"] = {kind: {"schema": BINARY} for kind in op.media}
    answers = {str(op.status): good}
    codes = {*op.errors}
    if op.ranges:
        answers |= {"206": good | {"description": "The range"}, "304": {"description": "You have it"}}
        codes.add(416)
    if access not in ("open", "token"):
        codes |= {401, 403}
    elif _of_a_camera(access, path):
        codes |= {401, 410}
    if "{" in path:
        codes.add(404)
    if op.body is not None or op.takes:
        codes |= {400, 413}
    if op.query:
        codes.add(400)
    problem = {PROBLEM: {"schema": {"$ref": PROBLEM_SCHEMA}}}
    return answers | {str(c): {"description": "Problem", "content": problem} for c in sorted(codes)}
