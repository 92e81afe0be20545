"""The news: CloudEvents as server-sent events, of what one may see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any

import aiohttp

from tests.server.conftest import Start
from tests.server.people import Person, basic, invited, owner
from tests.server.pictures import jpeg


async def news(who: Person) -> AsyncGenerator[tuple[str, Any], None]:
    """What comes, as (event, data); first ("", None) once it listens."""
    async with who.http.get(who.base + "/api/v1/news") as answer:
        assert answer.status == 200 and answer.content_type == "text/event-stream"
        kind = ""
        async for line in answer.content:
            word, _, rest = line.decode().rstrip("\n").partition(": ")
            if word == "event":
                kind = rest
            elif word == "data":
                yield kind, json.loads(rest)
            elif word == "retry":
                yield "", None


async def test_what_happens_comes_as_cloud_events(start: Start) -> None:
    server = await start()
    async with asyncio.timeout(60), owner(server) as who, invited(server, who, "neighbour") as other:
        heard, not_theirs = news(who), news(other)
        assert [await anext(heard), await anext(not_theirs)] == [("", None)] * 2
        made = await who.add("porch")
        kind, told = await anext(heard)
        assert kind == "camera" and told["type"] == "camera-agent.camera.changed.v1"
        assert (told["specversion"], told["source"]) == ("1.0", "/cameras/porch")
        assert datetime.fromisoformat(told["time"]).tzinfo is not None
        [listed] = (await who.ask("GET", "/api/v1/cameras"))["cameras"]
        assert told["data"] == {k: v for k, v in listed.items() if k != "mine"}
        async with aiohttp.ClientSession(headers=basic(made["login"], made["password"])) as http:
            assert (await http.put(made["upload_url"] + "a.jpg", data=jpeg(1))).status == 201
        while kind != "event":
            kind, told = await anext(heard)
        stored = await who.ask("GET", f"/api/v1/events/{told['data']['id']}")
        assert told["type"] == "camera-agent.event.changed.v1" and stored["camera"] == "porch"
        assert told["data"].keys() == stored.keys() - {"items"}
        ids = {told["id"]}
        await who.ask("DELETE", "/api/v1/cameras/porch", 204)
        while told["type"] != "camera-agent.camera.deleted.v1":
            kind, told = await anext(heard)
            assert told["id"] not in ids, "each has an id of its own"
            ids.add(told["id"])
        assert (kind, told["data"]["name"]) == ("camera", "porch")
        await other.add("shed")
        _, first = await anext(not_theirs)
        assert first["source"] == "/cameras/shed", "of the other household's camera nothing was told"


async def test_all_who_may_see_hear_the_same_event(start: Start) -> None:
    server = await start()
    async with asyncio.timeout(60), owner(server) as who:
        one, two = news(who), news(who)
        assert [await anext(one), await anext(two)] == [("", None)] * 2
        await who.add("porch")
        assert await anext(one) == await anext(two), "with one id, so that a receiver of both drops one"


async def test_the_end_of_the_server_ends_the_news(start: Start) -> None:
    server = await start()
    async with asyncio.timeout(60), owner(server) as who:
        heard = news(who)
        await anext(heard)
        await server.close()
        assert [x async for x in heard] == []
