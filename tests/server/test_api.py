"""The API keeps to its own description, and its media to RFC 9110."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from hashlib import sha256
from typing import Any

import aiohttp
import pytest

from agent.media.wire import pack_live
from agent.server.camera import FRESH_NS
from agent.server.web.access import Access
from agent.server.web.api import ROOT
from tests.server.agents import Uplinks
from tests.server.conftest import Start
from tests.server.people import basic, owner, person
from tests.server.pictures import frame, item, jpeg

OPEN = {
    ("GET", "/static/{name}"),
    ("GET", "/favicon.ico"),
    ("GET", "/j/{code}"),
    ("GET", "/setup/{code}"),
    ("POST", "/setup/{code}"),
    ("GET", "/invite/{code}"),
    ("POST", "/invite/{code}"),
    ("GET", "/password/{code}"),
    ("POST", "/password/{code}"),
    ("GET", "/login"),
    ("POST", "/login"),
    ("GET", "/s/{code}"),
    ("GET", "/s/{code}/picture.jpg"),
    ("GET", "/s/{code}/film.mjpeg"),
    ("GET", "/s/{code}/film.mp4"),
    ("GET", "/api/v1/openapi.json"),
    ("GET", "/metrics"),
    ("GET", "/health"),
}


async def test_every_route_declares_its_permission(start: Start) -> None:
    server = await start()
    assert server._runner is not None and server._runner.app is not None
    routes = [r for r in server._runner.app.router.routes() if r.method != "HEAD"]
    heads = sum(r.access is not None for r in server.routes.declared.values() if r.method == "HEAD")
    assert len(routes) + heads == len(server.routes.declared), "a route that Routes.add did not make"
    opened = {key for key, route in server.routes.declared.items() if route.access is Access.OPEN}
    assert opened == OPEN, "a route without a lock: is that meant?"
    tokens = {path for (_, path), route in server.routes.declared.items() if route.access is Access.TOKEN}
    assert all(path.startswith("/v1/") for path in tokens)


async def test_the_description_is_openapi_and_names_every_api_route(start: Start) -> None:
    server = await start()
    async with person(server) as anybody:
        described = await anybody.ask("GET", f"{ROOT}/openapi.json")
    validator = pytest.importorskip("openapi_spec_validator", reason="pip install -e .[test]: NOT validated")
    validator.OpenAPIV31SpecValidator(described).validate()
    [cookie] = {s["name"] for s in described["components"]["securitySchemes"].values() if s["type"] == "apiKey"}
    paths = described["paths"]
    async with owner(server) as who:
        assert cookie in {c.key for c in who.http.cookie_jar}
    assert paths["/v1/pair"]["post"]["security"] == [], "the code is all that is asked for"
    assert paths["/v1/cam/{camera}/picture"]["put"]["security"] == [{"login": []}, {"agent": []}]
    assert {"206", "304", "416"} < paths[f"{ROOT}/cameras/{{camera}}/items/{{item}}"]["get"]["responses"].keys()
    operations = [op for path in described["paths"].values() for op in path.values()]
    assert len({op["operationId"] for op in operations}) == len(operations) > 25
    silent = [
        f"{r.method} {r.path}"
        for r in server.routes.declared.values()
        if r.op is None and r.path.startswith(ROOT) and not r.path.endswith(("openapi.json", "/live", "/live.ws"))
    ]
    assert not silent, f"not described: {silent}"


async def test_ranges_and_conditions(start: Start, connect: Uplinks) -> None:
    server = await start()
    data = jpeg(3)
    async with owner(server) as who:
        made = await who.add("porch")
        uplink = await connect(server, "porch", made["token"])
        await uplink.hello()
        await uplink.put(item("porch", uplink.spool, 1, data))
        await uplink.acked(1)
        [still] = (await who.ask("GET", f"{ROOT}/cameras/porch/stills"))["stills"]
        for headers, status, body in (
            ({}, 200, data),
            ({"Range": "bytes=0-99"}, 206, data[:100]),
            ({"Range": "bytes=-10"}, 206, data[-10:]),
            ({"Range": "bytes=10-"}, 206, data[10:]),
            ({"Range": "bytes=99999999-"}, 416, None),
            ({"Range": "bytes=x"}, 200, data),
            ({"If-None-Match": f'"{still["sha256"]}"'}, 304, b""),
            ({"Range": "bytes=0-9", "If-Range": '"other"'}, 200, data),
            ({"Range": "bytes=0-9", "If-Range": f'"{still["sha256"]}"'}, 206, data[:10]),
        ):
            async with who.http.get(who.base + still["url"], headers=headers) as answer:
                assert answer.status == status, headers
                if status != 416:
                    assert answer.headers["ETag"] == f'"{still["sha256"]}"'
                    assert await answer.read() == body


async def test_a_film_of_jpegs_in_parts(start: Start) -> None:
    server = await start()
    async with owner(server) as who:
        made = await who.add("porch", events="pause", pause_s=1)
        form = aiohttp.FormData()
        for n in range(5):
            form.add_field("f", jpeg(n), filename=f"{n}.jpg")
        login = basic(made["login"], made["password"])
        async with aiohttp.ClientSession(headers=login) as http, http.post(made["upload_url"], data=form) as answer:
            assert answer.status == 201
        event: dict[str, Any] = {}
        while event.get("frames") != 5 or event["state"] != "closed":
            await asyncio.sleep(0.05)
            [event] = (await who.ask("GET", f"{ROOT}/events"))["events"]
        url = f"{who.base}{ROOT}/events/{event['id']}/event.avi"
        async with who.http.get(url) as answer:
            whole, etag = await answer.read(), answer.headers["ETag"]
        assert all(jpeg(n) in whole for n in range(5))
        for start_at, stop in ((0, 100), (50, len(whole) - 50), (len(whole) - 9, len(whole))):
            async with who.http.get(url, headers={"Range": f"bytes={start_at}-{stop - 1}", "If-Range": etag}) as part:
                assert part.status == 206 and await part.read() == whole[start_at:stop]
        for headers, status in (({"If-None-Match": etag}, 304), ({"Range": f"bytes={len(whole)}-"}, 416)):
            async with who.http.get(url, headers=headers) as answer:
                assert answer.status == status


async def test_pages_of_stills_are_complete_and_cursors_as_described(start: Start, connect: Uplinks) -> None:
    server = await start()
    async with owner(server) as who:
        made = await who.add("porch")
        uplink = await connect(server, "porch", made["token"])
        await uplink.hello()
        for seq in range(1, 8):
            same_time = replace(
                item("porch", uplink.spool, seq, jpeg(seq)), wall_ns=1_795_881_218_779_000_000 + seq // 3
            )
            await uplink.put(same_time)
        await uplink.acked(7)
        paths = (await who.ask("GET", f"{ROOT}/openapi.json"))["paths"]
        asked = {p["name"]: p["schema"] for p in paths[f"{ROOT}/cameras/{{camera}}/stills"]["get"]["parameters"]}
        seen: list[int] = []
        after = ""
        while True:
            page = await who.ask("GET", f"{ROOT}/cameras/porch/stills?limit=3{after}")
            seen += [s["seq"] for s in page["stills"]]
            if page["next"] is None:
                break
            assert re.search(asked["before"]["pattern"], page["next"])
            after = f"&before={page['next']}"
        assert seen == [7, 6, 5, 4, 3, 2, 1]
        await who.ask("GET", f"{ROOT}/cameras/porch/stills?before=1-2", 400)


async def test_pages_of_events_are_complete_and_errors_are_problems(start: Start) -> None:
    server = await start()
    async with owner(server) as who:
        made = await who.add("porch", pause_s=1)
        for n in range(7):
            camera = server._cameras.get("porch")
            assert camera is not None
            server._desk.of(camera)._end_pause()
            headers = basic(made["login"], made["password"])
            await who.ask("PUT", "/v1/cam/porch/picture", 201, data=jpeg(n), headers=headers)
        seen: list[int] = []
        after = ""
        asked = (await who.ask("GET", f"{ROOT}/openapi.json"))["paths"][f"{ROOT}/events"]["get"]["parameters"]
        [pattern] = [p["schema"]["pattern"] for p in asked if p["name"] == "before"]
        while True:
            page = await who.ask("GET", f"{ROOT}/events?limit=3{after}")
            seen += [e["id"] for e in page["events"]]
            if page["next"] is None:
                break
            assert re.search(pattern, page["next"])
            after = f"&before={page['next']}"
        assert seen == sorted(seen, reverse=True) and len(seen) == 7
        bad = await who.ask("POST", f"{ROOT}/cameras", 400, json={"name": "UPPER", "colour": 3})
        assert {e["pointer"] for e in bad["errors"]} == {"/name", "/colour"} and bad["status"] == 400
        await who.ask("GET", f"{ROOT}/events?before=x", 400)
        wide = str.maketrans("0123456789", "０１２３４５６７８９")  # what int() takes, too
        for path in ("events", "cameras/porch/stills"):
            told = await who.ask("GET", f"{ROOT}/{path}?limit=５", 400)
            assert told["detail"] == "limit must be 1 to 500"
        whole = await who.ask("GET", f"{ROOT}/events?limit=3")
        await who.ask("GET", f"{ROOT}/events?before={whole['next'].translate(wide)}", 400)
        await who.ask("GET", f"{ROOT}/events/{str(seen[0]).translate(wide)}", 404)
        thumb = who.base + (await who.ask("GET", f"{ROOT}/events/{seen[0]}"))["thumb"]
        async with who.http.get(thumb) as picture:
            tag = picture.headers["ETag"]
            assert (
                tag == f'"{sha256(await picture.read()).hexdigest()}"' and "max-age" in picture.headers["Cache-Control"]
            )
        async with who.http.get(thumb.partition("?")[0], headers={"If-None-Match": tag}) as picture:
            assert picture.status == 304 and picture.headers["Cache-Control"] == "no-cache"
        kept = await who.ask("PUT", f"{ROOT}/events/{seen[0]}/kept", json={"kept": True})
        assert kept["kept"] is True


async def test_the_newest_picture_is_asked_for_when_nobody_looks(start: Start, connect: Uplinks) -> None:
    server = await start()
    async with owner(server) as who, person(server) as anybody:
        made = await who.add("porch")
        latest, view = f"{who.base}{ROOT}/cameras/porch/latest.jpg", made["view_url"] + "/picture.jpg"
        await who.ask("GET", latest, 404)
        uplink = await connect(server, "porch", made["token"])
        await uplink.hello()
        for n, (http, url) in enumerate(((who.http, latest), (anybody.http, view))):
            looking = asyncio.create_task(fetch(http, url))
            assert (await uplink.control("live"))["n"] > 0
            await uplink.ws.send_bytes(pack_live(frame(n)))
            assert await looking == jpeg(n)
            assert await fetch(http, url) == jpeg(n), "a new one is not asked for again"
            while (await uplink.control("live"))["n"]:
                pass
            camera = server._cameras.get("porch")
            assert camera is not None and camera.hub.latest is not None
            camera.hub.latest = replace(camera.hub.latest, pts_ns=camera.hub.latest.pts_ns - 2 * FRESH_NS)


async def test_settings_are_written_as_they_are_read(start: Start) -> None:
    server = await start()
    async with owner(server) as who:
        path = f"{ROOT}/cameras/porch"
        await who.add("porch", ends_s=3600, at_end="keep", pull="http://admin:secret@127.0.0.1:9/video.cgi")
        before = (await who.ask("GET", path))["settings"]
        after = await who.ask("PUT", path, json={"name": "porch"} | before | {"quota_bytes": 5_000_000})
        assert after["settings"] == before | {"quota_bytes": 5_000_000}
        camera = server._cameras.get("porch")
        assert camera is not None and "admin:secret" in (camera.settings.pull or "")
        await who.ask("PUT", path, 400, json={"name": "porch", "ends_s": 5} | before)


async def fetch(http: aiohttp.ClientSession, url: str) -> bytes:
    async with http.get(url) as answer:
        assert answer.status == 200
        return await answer.read()
