"""Commands to a camera's agent, from whoever manages the camera."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from aiohttp import web

from agent.schema import max_entries
from agent.server.cameras import Cameras
from agent.server.web.access import Access, Routes
from agent.server.web.api import ROOT, body
from agent.server.web.openapi import Op


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandWanted:
    """`args`: fps {"fps": 0.1..60}, clip {"seconds": 1..60}, live {"n": 0..64}; the others take none."""

    do: Literal["snapshot", "fps", "arm", "disarm", "clip", "live"]
    args: Annotated[dict[str, int | float], max_entries(4)] = field(default_factory=dict)


class CommandDoneJson(TypedDict):
    """What the agent says of it."""

    ok: bool
    result: NotRequired[Any]
    error: NotRequired[str]


class Commands:
    """`POST /api/v1/cameras/{camera}/command`."""

    def __init__(self, cameras: Cameras) -> None:
        self._cameras = cameras

    def add_to(self, routes: Routes) -> None:
        op = Op("Ask the camera's agent for something", CommandDoneJson, 200, CommandWanted, errors=(404, 409))
        routes.add("POST", ROOT + "/cameras/{camera}/command", Access.MANAGE, self._command, op)

    async def _command(self, request: web.Request) -> web.Response:
        wanted: CommandWanted = await body(request, CommandWanted)
        camera = self._cameras.get(request.match_info["camera"])
        if camera is None or camera.command is None:
            raise web.HTTPConflict(text="no agent of this camera is there that takes commands")
        answer = await camera.command(wanted.do, dict(wanted.args))
        return web.Response(text=told(answer), content_type="application/json")


def told(answer: dict[str, Any]) -> str:
    """An agent's answer as JSON for others: without infinities, and not nested deeper than can be written."""
    try:
        return json.dumps(answer, allow_nan=False)
    except (ValueError, RecursionError):
        return json.dumps({"ok": False, "error": "the agent's answer cannot be told as JSON"})
