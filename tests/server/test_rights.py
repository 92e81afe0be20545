"""Rights end where they should: at once, with their camera, and never at somebody else's door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from agent.server import accounts, shares
from agent.server.app import CameraServer
from agent.server.index import Rows
from tests.server.conftest import Start
from tests.server.people import PASSWORD, basic, invited, owner, person
from tests.server.pictures import jpeg

NAMED = {"tokens": {"name": "t"}}
LIVE = ("live.mjpeg", "live.ws", "live")


async def test_nobody_logs_others_out_but_their_own_viewers(start: Start) -> None:
    server = await start()
    async with owner(server) as anna, invited(server, anna, "ben") as ben:
        await ben.add("porch")
        [first] = [a for a in (await anna.ask("GET", "/api/v1/accounts"))["accounts"] if a["role"] == "owner"]
        await ben.ask("DELETE", f"/api/v1/cameras/porch/viewers/{first['id']}", 404)
        await anna.ask("GET", "/api/v1/cameras")


async def test_a_token_for_one_camera_makes_none_and_knows_no_links_of_others(start: Start) -> None:
    server = await start()
    async with owner(server) as anna:
        await anna.add("porch")
        await anna.add("yard")
        links = {}
        for name in ("porch", "yard"):
            links[name] = await anna.ask("POST", "/api/v1/shares", 201, json={"camera": name})
        made = await anna.ask("POST", "/api/v1/tokens", 201, json={"name": "t", "scope": "manage", "camera": "porch"})
        async with person(server, made["token"]) as program:
            await program.ask("POST", "/api/v1/cameras", 403, json={"name": "mine"})
            await program.ask("POST", "/api/v1/shares", 404, json={"camera": "yard"})
            await program.ask("POST", "/api/v1/invitations", 404, json={"camera": "yard"})
            listed = (await program.ask("GET", "/api/v1/shares"))["shares"]
            assert {s["camera"] for s in listed} == {"porch"}
            await program.ask("DELETE", f"/api/v1/shares/{links['yard']['id']}", 404)
            await program.ask("DELETE", f"/api/v1/shares/{links['porch']['id']}", 204)


async def ended(http: aiohttp.ClientSession, url: str) -> None:
    """Look at the camera until the server ends it."""
    async with asyncio.timeout(30):
        if url.endswith("mjpeg"):
            async with http.get(url) as film:
                assert film.status == 200
                while await film.content.readany():
                    pass
        else:
            async with http.ws_connect(url) as ws:
                async for _ in ws:
                    pass
                assert ws.close_code == 4401


@pytest.mark.parametrize("way", LIVE)
async def test_who_may_look_no_more_looks_no_more(start: Start, way: str) -> None:
    """A viewer's token goes on after their browser was logged out, and then sees nothing of a camera taken away."""
    server = await start()
    async with owner(server) as anna:
        made = await anna.add("porch")
        async with invited(server, anna, "carl", "porch") as carl:
            token = await carl.ask("POST", "/api/v1/tokens", 201, json={"name": "t"})
            gone = await carl.ask("POST", "/api/v1/tokens", 201, json={"name": "gone"})
        url = f"{anna.base}/api/v1/cameras/porch/{way}"
        async with person(server, token["token"]) as one, person(server, gone["token"]) as two:
            jobs = [asyncio.create_task(ended(p.http, url)) for p in (one, two)]
            await _until(lambda: len(_looking(server)) >= 2)
            await anna.ask("PUT", "/v1/cam/porch/picture", 201, data=jpeg(1), headers=basic("x", made["password"]))
            async with person(server) as browser:
                await browser.ask("POST", "/login", data={"user": "carl", "password": PASSWORD})
                await browser.ask("DELETE", f"/api/v1/tokens/{gone['id']}", 204)
            await jobs[1]
            assert not jobs[0].done()
            [viewer] = (await anna.ask("GET", "/api/v1/cameras/porch/viewers"))["accounts"]
            await anna.ask("DELETE", f"/api/v1/cameras/porch/viewers/{viewer['id']}", 204)
            await jobs[0]


def _looking(server: CameraServer) -> list[object]:
    return [*server._live._open, *server._streams._running]


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.02)


async def test_tokens_and_viewers_end_with_their_camera(start: Start) -> None:
    server = await start()
    async with owner(server) as anna:
        await anna.add("porch")
        made = await anna.ask("POST", "/api/v1/tokens", 201, json={"name": "t", "camera": "porch"})
        async with invited(server, anna, "carl", "porch") as carl, person(server, made["token"]) as program:
            await anna.ask("DELETE", "/api/v1/cameras/porch", 204)
            assert (await anna.ask("GET", "/api/v1/tokens"))["tokens"] == []
            await anna.add("porch")
            await program.ask("GET", "/api/v1/cameras/porch", 401)
            await carl.ask("GET", "/api/v1/cameras/porch", 404)


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("what", ["shares", "tokens", "invitations", "keys", "accept"])
async def test_what_is_given_while_its_camera_is_deleted_leads_nowhere(start: Start, what: str, at: int) -> None:
    """The deletion comes before the request's first, second or third change of the index: no row stays."""
    server = await start()
    async with owner(server) as anna, person(server) as carl:
        await anna.add("porch")
        link = (await anna.ask("POST", "/api/v1/invitations", 201, json={"camera": "porch"}))["url"]
        index = server._archive.index  # type: ignore[union-attr]
        write = index.write
        _delete_before_write(server, at)
        if what == "accept":
            form = {"user": "carl", "password": PASSWORD, "again": PASSWORD}
            await carl.http.post(link, data=form)
        elif what == "keys":
            await anna.http.post(anna.base + "/api/v1/cameras/porch/keys")
        else:
            await anna.http.post(f"{anna.base}/api/v1/{what}", json={"camera": "porch"} | NAMED.get(what, {}))
        index.write = write  # type: ignore[method-assign]
        await server.delete_camera("porch")
        left = await index.read(
            lambda r: {t: getattr(r, t).count(camera="porch") for t in ("shares", "tokens", "links", "grants")}
        )
        assert not any(left.values()), left
        assert all("porch" not in names for names in server._accounts._grants.values())
        assert server._tokens.of(1) == []


def _delete_before_write(server: CameraServer, at: int) -> None:
    index = server._archive.index  # type: ignore[union-attr]
    write, left = index.write, at

    async def late(run: Callable[[Rows], Any]) -> Any:
        nonlocal left
        left -= 1
        if left == 0 and not server._cameras._changing.locked():
            await server.delete_camera("porch")
        return await write(run)

    index.write = late  # type: ignore[method-assign]


async def test_links_of_a_camera_are_bounded_and_what_fails_takes_no_keys_away(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "MAX_SHARES", 3)
    server = await start()
    async with owner(server) as anna:
        for n in range(8):
            await anna.add(f"camera-{n}")  # each has a link of its own
        made = await anna.add("porch")
        for _ in range(2):
            made = await anna.ask("POST", "/api/v1/cameras/porch/keys", 201)
        await anna.ask("POST", "/api/v1/cameras/porch/keys", 409)
        await anna.ask("POST", "/api/v1/shares", 409, json={"camera": "porch"})
        await anna.ask("PUT", "/v1/cam/porch/picture", 201, data=jpeg(1), headers=basic("x", made["password"]))
        rows = await server._archive.index.read(lambda r: r.links.find(kind="pair", camera="porch"))  # type: ignore[union-attr]
        assert len(rows) == 1, "new keys end an earlier pairing code"


async def test_new_cameras_leave_room_for_invitations(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "MAX_INVITES", 2)
    server = await start()
    async with owner(server) as anna:
        for n in range(3):
            await anna.add(f"camera-{n}")
        for _ in range(2):
            await anna.ask("POST", "/api/v1/invitations", 201, json={})
        await anna.ask("POST", "/api/v1/invitations", 409, json={})
