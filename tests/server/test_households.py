"""Two households on one server: no way in leads from one to the other, whatever is named in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from agent.server.app import CameraServer
from agent.server.web.access import Access, Route
from agent.server.web.openapi import PARAMETER
from tests.server.conftest import Start
from tests.server.people import Person, basic, invited, owner, person
from tests.server.pictures import jpeg
from tests.server.test_news import news

INTRUDERS = ("other", "program", "narrow", "viewer", "viewer's program")
LISTS = ("about", "cameras", "events", "events?camera={camera}", "shares", "tokens")


@dataclass(frozen=True, slots=True)
class Household:
    """Whose it is, its cameras (`second` is the one that `viewer` sees), and what of it a route can name."""

    who: Person
    viewer: Person
    first: Any
    second: str
    ids: dict[str, Any]

    async def state(self) -> Any:
        """All that could have been changed."""
        lists = [await self.who.ask("GET", f"/api/v1/{path.format(**self.ids)}") for path in LISTS]
        path = f"/api/v1/cameras/{self.ids['camera']}"
        shown = await self.who.ask("GET", path)
        del shown["stored"]["days_left"]  # of the disk
        return lists, shown, await self.who.ask("GET", f"{path}/viewers")


@asynccontextmanager
async def household(who: Person, server: CameraServer, name: str) -> AsyncIterator[Household]:
    async with AsyncExitStack() as stack:
        first = await who.add(f"{name}-porch", ends_s=1e6)
        second = (await who.add(f"{name}-yard"))["name"]
        viewers = [
            await stack.enter_async_context(invited(server, who, f"{name}{c}", c)) for c in (first["name"], second)
        ]
        login = basic(first["login"], first["password"])
        await who.ask("PUT", f"/v1/cam/{first['name']}/picture", 201, data=jpeg(1), headers=login)
        [event] = (await who.ask("GET", "/api/v1/events"))["events"]
        [clip] = (await who.ask("GET", f"/api/v1/events/{event['id']}"))["items"]
        share = await who.ask("POST", "/api/v1/shares", 201, json={"event": event["id"]})
        token = await who.ask("POST", "/api/v1/tokens", 201, json={"name": "t", "camera": first["name"]})
        [account] = (await who.ask("GET", f"/api/v1/cameras/{first['name']}/viewers"))["accounts"]
        ids = {"camera": first["name"], "id": event["id"], "item": clip["url"].rpartition("/")[2], "n": 0}
        ids |= {"share": share["id"], "token": token["id"], "account": account["id"]}
        yield Household(who, viewers[1], first, second, ids)


@asynccontextmanager
async def intruder(kind: str, of: Household, server: CameraServer) -> AsyncIterator[Person]:
    """Somebody with all rights of their own."""
    if kind in ("other", "viewer"):
        yield of.who if kind == "other" else of.viewer
        return
    by = of.viewer if "viewer" in kind else of.who
    wanted = {"name": kind, "scope": "manage", "camera": of.second if kind == "narrow" else None}
    made = await by.ask("POST", "/api/v1/tokens", 201, json=wanted)
    async with person(server, made["token"]) as program:
        yield program


def named(route: Route, ids: dict[str, Any]) -> str | None:
    """The route's path with what it names; None when it names nothing of a household."""
    asked = {m[1] for m in PARAMETER.finditer(route.path)}
    return PARAMETER.sub(lambda m: str(ids[m[1]]), route.path) if asked and asked <= ids.keys() else None


@pytest.mark.parametrize("kind", INTRUDERS)
@pytest.mark.parametrize("way", ["owner at member's", "member at owner's"])
async def test_no_route_leads_to_the_neighbours(start: Start, kind: str, way: str) -> None:
    server = await start()
    async with AsyncExitStack() as stack:
        anna = await stack.enter_async_context(owner(server))
        ben = await stack.enter_async_context(invited(server, anna, "ben"))
        homes = [await stack.enter_async_context(household(w, server, n)) for w, n in ((anna, "anna"), (ben, "ben"))]
        mine, theirs = homes if way.startswith("owner") else reversed(homes)
        before = await theirs.state()
        who = await stack.enter_async_context(intruder(kind, mine, server))
        tried = 0
        for (method, _), route in server.routes.declared.items():
            path = named(route, theirs.ids)
            admin = route.access is Access.ADMIN and mine.who is anna and kind in ("other", "program")
            if path is None or route.access is Access.OPEN or admin:
                continue
            body = {"kept": True} if "kept" in path else {"name": theirs.ids["camera"], "command": "snapshot"}
            more = {"json": body} if method in ("PUT", "POST") else {}
            if route.access is Access.TOKEN:
                more["headers"] = basic(mine.first["login"], mine.first["password"])
            async with who.http.request(method, who.base + path, **more) as answer:
                unseen = (404,) if "{camera}" in route.path else (403, 404)
                refused = (404,) if route.access is Access.TOKEN else unseen
                assert answer.status in refused, f"{method} {path}: {answer.status}"
            tried += 1
        assert tried >= 30, "the routes are there"
        for path, named_there in (
            ("shares", "camera"),
            ("shares", "event"),
            ("tokens", "camera"),
            ("invitations", "camera"),
        ):
            body = {"name": "t", named_there: theirs.ids["id" if named_there == "event" else "camera"]}
            if path != "tokens":
                del body["name"]
            async with who.http.post(f"{who.base}/api/v1/{path}", json=body) as answer:
                assert answer.status in (403, 404), f"{path}: {answer.status}"
        for path in LISTS:
            async with who.http.get(f"{who.base}/api/v1/{path.format(**theirs.ids)}") as answer:
                text = await answer.text()
                assert theirs.ids["camera"] not in text and theirs.second not in text, f"{path}: {text}"
        assert await theirs.state() == before


async def test_no_news_of_the_neighbours(start: Start) -> None:
    server = await start()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(60))
        anna = await stack.enter_async_context(owner(server))
        ben = await stack.enter_async_context(invited(server, anna, "ben"))
        homes = [await stack.enter_async_context(household(w, server, n)) for w, n in ((anna, "anna"), (ben, "ben"))]
        for mine, theirs in (homes, reversed(homes)):
            heard = await stack.enter_async_context(aclosing(news(mine.who)))
            assert await anext(heard) == ("", None)
            for of in (theirs, mine):
                login = basic(of.first["login"], of.first["password"])
                await of.who.ask("PUT", f"/v1/cam/{of.ids['camera']}/picture", 201, data=jpeg(2), headers=login)
                await of.who.ask("PUT", f"/api/v1/events/{of.ids['id']}/kept", 200, json={"kept": True})
                await of.who.ask("DELETE", f"/api/v1/cameras/{of.second}", 204)
                await of.who.add(of.second)
            told = [await anext(heard)]
            while told[-1][1]["type"] != "camera-agent.camera.deleted.v1":
                told.append(await anext(heard))
            assert {data["source"] for _, data in told} == {f"/cameras/{c}" for c in (mine.ids["camera"], mine.second)}
