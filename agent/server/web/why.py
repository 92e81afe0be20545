"""Why there was an event, and why there was none, over the API: a camera's reasons, and the course of an event."""

from __future__ import annotations

import json
from typing import Any, TypedDict

from aiohttp import web

from agent.clock import Clock
from agent.server.cameras import Cameras
from agent.server.catalog import Catalog
from agent.server.digest import boxes, number, share, text
from agent.server.web.access import Access, Routes
from agent.server.web.api import EVENT_ID, ROOT, Api
from agent.server.web.openapi import Op

MOST = 600
GRID_DIGITS = 64


class WhyEntryJson(TypedDict):
    """Something that was held back from `first_ms` to `last_ms`, in `count` analyses; `words` say why.

    `evidence` of how much `wanted`, in the detector's units (0 where that says nothing); `box` is where it was, in
    shares of the picture. With `event`, the agent's number of it, it is an event that began, and `score` the share
    of the picture that moved.
    """

    first_ms: float
    last_ms: float
    count: int
    event: int
    reason: str
    words: str
    box: list[float]
    score: float
    evidence: float
    wanted: float
    zone: str


class WhyJson(TypedDict):
    """Newest first, 200 at most. `armed`: whether motion made events then. `as_of_ms`: when the agent told it, None
    if it never did; `error`: why not now."""

    entries: list[WhyEntryJson]
    armed: bool | None
    as_of_ms: float | None
    error: str | None


class MomentJson(TypedDict):
    """One analysis, `ms` after the event's start: the share of the picture that moved, and where."""

    ms: int
    score: float
    boxes: list[list[float]]


class SecondJson(TypedDict):
    """The best analysis of a second, and in `grid` (64 hex digits) where all of it moved: a bit for each of 16 × 16
    cells of the picture, row by row from the top left, the high bit first."""

    s: int
    score: float
    boxes: list[list[float]]
    grid: str


class CourseJson(TypedDict):
    """All of it is empty while the event goes on, and where its way in judges no motion."""

    start_ms: float
    zone: str
    biggest: list[float] | None
    course: list[MomentJson]
    trail: list[SecondJson]


class Why:
    """`GET /api/v1/cameras/{camera}/why` and `GET /api/v1/events/{id}/course`."""

    def __init__(self, api: Api, cameras: Cameras, catalog: Catalog, clock: Clock) -> None:
        self._api = api
        self._cameras = cameras
        self._catalog = catalog
        self._clock = clock

    def add_to(self, routes: Routes) -> None:
        op = Op("What was held back from being an event lately, and what made events", answer=WhyJson)
        routes.add("GET", ROOT + "/cameras/{camera}/why", Access.VIEWER, self._why, op)
        op = Op("The course of an event: how much moved, and where", answer=CourseJson)
        routes.add("GET", ROOT + f"/events/{{id:{EVENT_ID}}}/course", Access.VIEWER, self._course, op)

    async def _why(self, request: web.Request) -> web.Response:
        camera = self._cameras.get(request.match_info["camera"])
        if camera is None:
            raise web.HTTPNotFound(text="no such camera")
        reasons = camera.why
        await reasons.refresh(self._clock.wall_ns)
        as_of_ms = reasons.at_ns / 1e6 if reasons.at_ns else None
        told = {"entries": reasons.json(), "armed": reasons.armed}
        return web.json_response(told | {"as_of_ms": as_of_ms, "error": reasons.error or None})

    async def _course(self, request: web.Request) -> web.Response:
        event = await self._api.stored_event(request)
        record = await self._catalog.closing(event)
        try:
            told = json.loads(record) if record else {}
        except (ValueError, RecursionError):
            told = {}
        return web.json_response({"start_ms": event.at_ns / 1e6} | course(told if isinstance(told, dict) else {}))


def course(record: dict[str, Any]) -> dict[str, Any]:
    """Of a closing event record what the API says; what is not as docs/protocol.md has it is left out."""
    biggest = boxes([record.get("biggest")])
    return {
        "zone": text(record.get("zone"), 100),
        "biggest": biggest[0] if biggest else None,
        "course": [_moment(m) for m in _list(record.get("course")) if isinstance(m, list) and len(m) == 3],
        "trail": [_second(s) for s in _list(record.get("trail")) if isinstance(s, dict)],
    }


def _moment(m: list[Any]) -> dict[str, Any]:
    return {"ms": number(m[0]), "score": share(m[1]), "boxes": boxes(m[2])}


def _second(s: dict[str, Any]) -> dict[str, Any]:
    grid = str(s.get("grid", ""))
    if len(grid) != GRID_DIGITS or not set(grid) <= set("0123456789abcdef"):
        grid = "0" * GRID_DIGITS
    return {"s": number(s.get("s")), "score": share(s.get("score")), "boxes": boxes(s.get("boxes")), "grid": grid}


def _list(value: object) -> list[Any]:
    return value[: MOST + 1] if isinstance(value, list) else []
