"""Who sees what: households on one server, viewers of a camera, tokens, and doors that stay shut."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from yarl import URL

from agent.clock import SystemClock
from agent.frame import ItemType
from agent.media import clip
from agent.server.accounts import Who
from agent.server.app import CameraServer
from agent.server.web import films
from tests.e2e.product import command
from tests.server.agents import Uplinks
from tests.server.conftest import Start
from tests.server.people import PASSWORD, Person, basic, invited, owner, person
from tests.server.pictures import frame, item, jpeg
from tests.server.test_virtual import traces


class Later(SystemClock):
    """It shows another time of day when somebody says so."""

    later_ns = 0

    def wall_ns(self) -> int:
        return super().wall_ns() + self.later_ns


class Stopped(SystemClock):
    """For who must wait, however slow this machine is."""

    def monotonic_ns(self) -> int:
        return 10**18


async def test_each_account_sees_its_own_cameras_only(start: Start) -> None:
    server = await start()
    async with owner(server) as anna, invited(server, anna, "ben") as ben:
        await anna.add("porch")
        made = await ben.add("porch")
        assert made["name"].startswith("porch-")
        auth = {"Authorization": f"Bearer {made['token']}"}
        await ben.ask("PUT", f"/v1/cam/{made['name']}/picture", 201, data=jpeg(1), headers=auth)
        [event] = (await ben.ask("GET", "/api/v1/events"))["events"]
        assert (await anna.ask("GET", "/api/v1/events"))["events"] == []
        assert [c["name"] for c in (await anna.ask("GET", "/api/v1/cameras"))["cameras"]] == ["porch"]
        assert [c["name"] for c in (await ben.ask("GET", "/api/v1/cameras"))["cameras"]] == [made["name"]]
        assert (await ben.ask("GET", "/api/v1/about"))["bytes"] > 0 == (await anna.ask("GET", "/api/v1/about"))["bytes"]
        await ben.ask("GET", f"/api/v1/events/{event['id']}/thumb.jpg")
        await ben.ask("POST", "/api/v1/invitations", 403, json={})
        await ben.ask("GET", "/api/v1/accounts", 403)
        await ben.ask("POST", "/api/v1/cameras", 403, json={"name": "x", "pull": "http://10.0.0.1/"})
        [account] = [a for a in (await anna.ask("GET", "/api/v1/accounts"))["accounts"] if a["name"] == "ben"]
        await anna.ask("DELETE", f"/api/v1/accounts/{account['id']}", 204)
        await ben.ask("GET", "/api/v1/cameras", 401)
        assert [c.name for c in server._cameras.all()] == ["porch"]


async def test_nothing_of_a_deleted_account_is_left(start: Start) -> None:
    server = await start()
    async with owner(server) as anna, invited(server, anna, "Zebedee") as zebedee:
        assert "Zebedee in" in "".join(traces(server.settings.store_path, "Zebedee"))
        await zebedee.ask("POST", "/api/v1/tokens", 201, json={"name": "Zebedee's"})
        [account] = [a for a in (await anna.ask("GET", "/api/v1/accounts"))["accounts"] if a["name"] == "Zebedee"]
        await anna.ask("DELETE", f"/api/v1/accounts/{account['id']}", 204)
    assert list(traces(server.settings.store_path, "Zebedee")) == []


async def test_a_viewer_sees_the_camera_that_was_shown_and_changes_nothing(start: Start) -> None:
    server = await start()
    async with owner(server) as anna:
        await anna.add("porch")
        await anna.add("yard")
        async with invited(server, anna, "carl", "porch") as carl:
            assert [c["name"] for c in (await carl.ask("GET", "/api/v1/cameras"))["cameras"]] == ["porch"]
            shown = await carl.ask("GET", "/api/v1/cameras/porch")
            assert (shown["mine"], shown["settings"], shown["login"]) == (False, None, None)
            await carl.ask("GET", "/api/v1/cameras/yard", 404)
            await carl.ask("DELETE", "/api/v1/cameras/porch", 403)
            await carl.ask("POST", "/api/v1/cameras/porch/keys", 403)
            await carl.ask("POST", "/api/v1/cameras", 403, json={"name": "mine"})
            [account] = (await anna.ask("GET", "/api/v1/cameras/porch/viewers"))["accounts"]
            await anna.ask("DELETE", f"/api/v1/cameras/porch/viewers/{account['id']}", 204)
            await carl.ask("GET", "/api/v1/cameras", 401)


async def test_an_invitation_opens_once_and_passwords_are_checked(start: Start) -> None:
    server = await start()
    async with owner(server) as anna, person(server) as dora:
        link = (await anna.ask("POST", "/api/v1/invitations", 201, json={}))["url"]
        good = {"user": "dora", "password": PASSWORD, "again": PASSWORD}
        taken = {"user": "owner", "password": "another one", "again": "another one"}
        for bad in ({"password": "short", "again": "short"}, {"again": "another one"}, {"user": ""}, taken):
            await dora.ask("POST", link, 400, data=good | bad)
        await dora.ask("POST", link, data=good)
        await dora.ask("POST", link, 410, data=good | {"user": "eve"})
        await dora.ask("POST", "/logout")
        await dora.ask("POST", "/login", 403, data={"user": "dora", "password": "wrong"})
        await dora.ask("POST", "/login", data={"user": "dora", "password": PASSWORD})
        assert (await dora.ask("GET", "/api/v1/about"))["role"] == "member"


async def test_who_has_an_account_is_shown_more_with_it(start: Start) -> None:
    server = await start()
    async with owner(server) as anna:
        await anna.add("porch")
        await anna.add("yard")

        async def link(**what: str) -> str:
            url: str = (await anna.ask("POST", "/api/v1/invitations", 201, json=what))["url"]
            return url

        async with invited(server, anna, "carl", "porch") as carl, person(server) as again:
            form = {"user": "carl", "password": PASSWORD, "again": ""}
            yard = await link(camera="yard")
            await again.ask("POST", yard, 400, data=form | {"password": "a guess of his"})
            await again.ask("POST", yard, data=form)
            await again.ask("POST", yard, 410, data=form)
            for who in (carl, again):
                seen = (await who.ask("GET", "/api/v1/cameras"))["cameras"]
                assert [(c["name"], c["mine"]) for c in seen] == [("porch", False), ("yard", False)]
            own = await link()
            await again.ask("POST", own, data=form)
            assert (await carl.ask("GET", "/api/v1/about"))["role"] == "member"
            await carl.add("shed")
            more = await link()
            await again.ask("POST", more, 400, data=form)
            await again.ask("POST", await link(camera="yard"), 400, data=form | {"user": "owner"})
            await again.ask("POST", more, data=form | {"user": "dora", "again": PASSWORD})
            assert len((await anna.ask("GET", "/api/v1/accounts"))["accounts"]) == 3


async def test_an_invitation_does_not_help_to_guess(start: Start) -> None:
    server = await start(clock=Stopped())
    async with owner(server) as anna, person(server) as eve:
        link = (await anna.ask("POST", "/api/v1/invitations", 201, json={}))["url"]
        for n in range(3):
            await eve.ask("POST", link, 400, data={"user": "owner", "password": f"guess {n}"})
        await eve.ask("POST", link, 429, data={"user": "owner", "password": PASSWORD})
        await eve.ask("POST", "/login", 429, data={"user": "owner", "password": PASSWORD})


async def test_guessing_meets_patience(start: Start) -> None:
    server = await start(clock=Stopped())
    async with owner(server), person(server) as eve:
        for _ in range(3):
            await eve.ask("POST", "/login", 403, data={"user": "owner", "password": "guess"})
        await eve.ask("POST", "/login", 429, data={"user": "owner", "password": PASSWORD})


async def test_an_own_account_does_not_help_to_guess_at_another(start: Start) -> None:
    server = await start(clock=Stopped())
    async with owner(server) as anna, invited(server, anna, "eve") as eve:
        for _ in range(2):
            await eve.ask("POST", "/login", 403, data={"user": "owner", "password": "guess"})
            await eve.ask("POST", "/login", data={"user": "eve", "password": PASSWORD})
        await eve.ask("POST", "/login", 403, data={"user": "owner", "password": "guess"})
        await eve.ask("POST", "/login", 429, data={"user": "owner", "password": PASSWORD})


async def test_tokens_are_narrow_and_end(start: Start) -> None:
    server = await start()
    async with owner(server) as anna:
        await anna.add("porch")
        await anna.add("yard")
        read = await anna.ask("POST", "/api/v1/tokens", 201, json={"name": "read", "camera": "porch"})
        manage = await anna.ask("POST", "/api/v1/tokens", 201, json={"name": "all", "scope": "manage"})
        short = await anna.ask("POST", "/api/v1/tokens", 201, json={"name": "short", "life_s": 1e-9})
        listed = await anna.ask("GET", "/api/v1/tokens")
        assert len(listed["tokens"]) == 3 and read["token"] not in str(listed)
        async with person(server, read["token"]) as program:
            assert [c["name"] for c in (await program.ask("GET", "/api/v1/cameras"))["cameras"]] == ["porch"]
            await program.ask("GET", "/api/v1/cameras/yard", 404)
            await program.ask("DELETE", "/api/v1/cameras/porch", 403)
            await program.ask("POST", "/api/v1/tokens", 403, json={"name": "more"})
            await anna.ask("DELETE", f"/api/v1/tokens/{read['id']}", 204)
            await program.ask("GET", "/api/v1/cameras", 401)
        async with person(server, short["token"]) as program:
            assert (await program.ask("GET", "/api/v1/cameras", 401))["detail"].startswith(
                "this token is unknown, ended"
            )
            assert (await program.ask("PATCH", "/api/v1/cameras", 405))["detail"] == "here are GET, HEAD, POST"
            assert (await program.ask("GET", "/api/v1/camera", 404))["detail"] == "there is nothing at this address"
        async with person(server, manage["token"]) as program:
            await program.ask("DELETE", "/api/v1/cameras/yard", 204)


@asynccontextmanager
async def manager(server: CameraServer, anna: Person, life_s: float) -> AsyncIterator[tuple[dict[str, Any], Person]]:
    """A program with a token of hers that may do everything for so long, and what the token is."""
    made = await anna.ask("POST", "/api/v1/tokens", 201, json={"name": "all", "scope": "manage", "life_s": life_s})
    async with person(server, made["token"]) as program:
        yield made, program


async def test_what_is_taken_away_is_not_back_when_all_is_read_anew(start: Start) -> None:
    server = await start()
    tokens = server._tokens
    anna = await server._accounts.create("anna", PASSWORD, "owner")
    for n in range(100):
        token, secret = await tokens.create(Who(anna.id, "owner", True), "t", "read", "", 60)
        loads = (tokens.load() for _ in range(n % 5))
        await asyncio.gather(*loads, *(tokens.revoke(token.id, anna.id) for _ in range(2)), tokens.load())
        assert tokens.holder(secret)() is None


async def test_a_token_makes_none_that_outlives_it(start: Start) -> None:
    server = await start()
    async with owner(server) as anna:
        async with manager(server, anna, 86400) as (made, program):
            for longer in ({}, {"life_s": 86400}, {"life_s": 3e8}):
                body = {"name": "longer", **longer}
                async with program.http.post(program.base + "/api/v1/tokens", json=body) as answer:
                    assert answer.status == 403 and "outlives it" in (await answer.json(content_type=None))["detail"]
            within = await program.ask("POST", "/api/v1/tokens", 201, json={"name": "within", "life_s": 86000})
            assert within["expires_ms"] < made["expires_ms"]
        assert len((await anna.ask("GET", "/api/v1/tokens"))["tokens"]) == 2


async def test_links_and_invitations_end_with_the_token_that_makes_them(start: Start) -> None:
    server = await start()
    async with owner(server) as anna:
        async with manager(server, anna, 3600) as (made, program):
            await program.add("porch")  # its answer has a link, too
            for life in ({}, {"life_s": 3e8}):
                link = await program.ask("POST", "/api/v1/shares", 201, json={"camera": "porch"} | life)
                assert link["expires_ms"] == made["expires_ms"]
            short = await program.ask("POST", "/api/v1/shares", 201, json={"camera": "porch", "life_s": 60})
            assert short["expires_ms"] < made["expires_ms"]
            for camera in ({}, {"camera": "porch"}):
                await program.ask("POST", "/api/v1/invitations", 201, json=camera)
        given = await server._archive.index.read(  # type: ignore[union-attr]
            lambda rows: rows.links.find(kind="invite") + rows.shares.find()
        )
        assert len(given) == 6
        assert all(row.expires_ns / 1e6 <= made["expires_ms"] for row in given)
        free = await anna.ask("POST", "/api/v1/shares", 201, json={"camera": "porch"})
        assert free["expires_ms"] > made["expires_ms"], "a person's own links last as long as they are asked to"


async def test_a_token_is_a_password_for_programs_that_know_only_those(start: Start) -> None:
    server = await start()
    async with owner(server) as anna, person(server) as program:
        await anna.add("porch")
        token = (await anna.ask("POST", "/api/v1/tokens", 201, json={"name": "t"}))["token"]
        await program.ask("GET", "/api/v1/cameras/porch", headers=basic("x", token))
        await program.ask("DELETE", "/api/v1/cameras/porch", 403, headers=basic("x", token))
        for wrong in (token[:-1] + "_", "cat_", PASSWORD, ""):
            await program.ask("GET", "/api/v1/cameras/porch", 401, headers=basic("x", wrong))
        await anna.ask("GET", "/api/v1/cameras/porch", headers=basic("who", "a proxy asks for this"))
        for agent, asked in (("Lavf/59", True), ("Mozilla/5.0 (X11)", False)):
            async with program.http.get(anna.base + "/api/v1/cameras", headers={"User-Agent": agent}) as answer:
                assert answer.status == 401 and ("Basic" in answer.headers["WWW-Authenticate"]) is asked
        await anna.ask("GET", "/api/v1/cameras/porch", 401, headers=basic("x", "cat_wrong"))


async def test_share_links_show_one_thing_and_end(start: Start) -> None:
    server = await start()
    async with owner(server) as anna, person(server) as anybody:
        made = await anna.add("porch")
        auth = {"Authorization": f"Bearer {made['token']}"}
        await anna.ask("PUT", "/v1/cam/porch/picture", 201, data=jpeg(7), headers=auth)
        [event] = (await anna.ask("GET", "/api/v1/events"))["events"]
        share = await anna.ask("POST", "/api/v1/shares", 201, json={"event": event["id"]})
        async with anybody.http.get(share["url"]) as page:
            assert page.status == 200 and page.headers["X-Robots-Tag"] == "noindex"
        async with anybody.http.get(share["url"] + "/picture.jpg") as picture:
            assert await picture.read() == jpeg(7)
        async with anybody.http.get(share["url"] + "/film.mjpeg") as film:
            assert jpeg(7) in await film.read()
        await anybody.ask("GET", "/api/v1/events", 401)
        assert [s["views"] for s in (await anna.ask("GET", "/api/v1/shares"))["shares"] if s["event"]] == [1]
        await anna.ask("DELETE", f"/api/v1/shares/{share['id']}", 204)
        for path in ("", "/picture.jpg", "/film.mjpeg"):
            async with anybody.http.get(share["url"] + path) as page:
                assert page.status == 404


async def test_a_shared_film_is_not_held_open_for_who_takes_nothing_of_it(
    start: Start, connect: Uplinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(films, "STUCK_S", 0.5)
    server = await start()
    async with owner(server) as anna:
        made = await anna.add("porch")
        uplink = await connect(server, "porch", made["token"])
        await uplink.hello()
        large = tuple(replace(frame(n, 10**18 + n), data=jpeg(n, 1280, 960) + bytes(100_000)) for n in range(100))
        for seq in range(10):
            clips = item("porch", uplink.spool, 1 + seq, clip.pack(large[10 * seq :][:10]), ItemType.CLIP)
            await uplink.put(replace(clips, event=1))
        await uplink.acked(10)
        [event] = (await anna.ask("GET", "/api/v1/events"))["events"]
        share = await anna.ask("POST", "/api/v1/shares", 201, json={"event": event["id"]})
        await uplink.cut()
        film = URL(share["url"])
        with socket.socket() as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(stuck, (film.host, film.port))
            await loop.sock_sendall(
                stuck, f"GET {film.path}/film.mjpeg HTTP/1.1\r\nHost: {film.authority}\r\n\r\n".encode()
            )
            assert (await loop.sock_recv(stuck, 15)) == b"HTTP/1.1 200 OK" and stuck.getsockname() in _peers(server)
            async with asyncio.timeout(60):
                while stuck.getsockname() in _peers(server):
                    await asyncio.sleep(0.05)


def _peers(server: CameraServer) -> list[object]:
    """Who is connected: the addresses of the other ends."""
    assert server._runner is not None and server._runner.server is not None
    transports = [c.transport for c in server._runner.server.connections]
    return [t.get_extra_info("peername") for t in transports if t is not None]


@pytest.mark.parametrize("path", ["/", "/api/v1/cameras", "/api/v1/events", "/api/v1/openapi.json"])
async def test_a_foreign_name_and_a_foreign_site_are_refused(start: Start, path: str) -> None:
    server = await start()
    async with person(server) as eve:
        await eve.ask("GET", path, 421, headers={"Host": "evil.example"})
        await eve.ask("POST", path, 403, headers={"Origin": "http://evil.example"})


async def test_a_foreign_site_opens_no_websocket(start: Start) -> None:
    server = await start()
    async with owner(server) as anna:
        made = await anna.add("porch")
        agent = {"Authorization": f"Bearer {made['token']}", "Sec-WebSocket-Protocol": "camera-agent.v1"}
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        upgrade["Sec-WebSocket-Key"] = "AAAAAAAAAAAAAAAAAAAAAA=="
        for path, who in (("/v1/cam/porch/stream", agent), ("/api/v1/cameras/porch/live", {})):
            for origin in ("http://evil.example", "null", f"http://127.0.0.1.evil.example:{server.port}", "file://"):
                await anna.ask("GET", path, 403, headers=who | upgrade | {"Origin": origin})
            async with anna.http.ws_connect(anna.base + path, headers=who | {"Origin": anna.base}) as ws:
                assert not ws.closed


async def test_a_password_is_changed_by_who_knows_it(start: Start) -> None:
    server = await start()
    async with owner(server) as anna, person(server) as again:
        await anna.ask("PUT", "/api/v1/password", 403, json={"old": "wrong", "new": "another password"})
        await anna.ask("PUT", "/api/v1/password", 400, json={"old": PASSWORD, "new": "short"})
        await anna.ask("PUT", "/api/v1/password", 204, json={"old": PASSWORD, "new": "another password"})
        await anna.ask("GET", "/api/v1/cameras", 401)
        await again.ask("POST", "/login", 403, data={"user": "owner", "password": PASSWORD})
        await again.ask("POST", "/login", data={"user": "owner", "password": "another password"})


async def test_who_forgot_the_password_gets_in_by_the_server_s_machine(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    clock = Later()
    server = await start(clock=clock)
    store = server.settings.store_path

    async def link(name: str = "") -> str:
        return f"/password/{(await server._accounts.forgot(name))[1]}"

    with pytest.raises(LookupError, match="no owner yet"):
        await link()
    async with owner(server) as anna, invited(server, anna, "Ben") as ben, person(server) as again:
        earlier = await link()
        said = (await command("password", "--store", str(store))).text()
        found = re.search(rf"new password for owner: {anna.base}(/password/\S+)", said)
        assert found is not None, said
        code = found[1]
        await again.ask("GET", earlier, 410)
        await again.ask("GET", code)
        await again.ask("POST", code, 400, data={"password": "short", "again": "short"})
        await again.ask("POST", code, 400, data={"password": "another password", "again": "other"})
        await anna.ask("GET", "/api/v1/cameras")
        new = {"password": "another password", "again": "another password"}
        answers = await asyncio.gather(*(again.http.post(again.base + code, data=new) for _ in range(2)))
        assert sorted(a.status for a in answers) == [200, 410]
        await again.ask("GET", "/api/v1/accounts")
        await anna.ask("GET", "/api/v1/cameras", 401)
        async with person(server) as who:
            await who.ask("POST", "/login", 403, data={"user": "owner", "password": PASSWORD})
            await who.ask("POST", "/login", data={"user": "owner", "password": "another password"})
        bens = await link("Ben")
        clock.later_ns = 3600 * 10**9
        await again.ask("POST", bens, 410, data=new)
        await ben.ask("GET", "/api/v1/cameras")
    with pytest.raises(LookupError, match="nobody is called 'Nobody'"):
        await link("Nobody")
    for secret in (code.rsplit("/")[-1], bens.rsplit("/")[-1]):
        assert secret not in caplog.text and list(traces(store, secret)) == []
