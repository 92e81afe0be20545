"""What a camera showed last stands for it until there is something new, and never passes for live."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from playwright.async_api import Page

from agent.clock import SystemClock
from agent.media import wire
from agent.server.app import CameraServer
from agent.server.web import live
from tests.server.conftest import Start
from tests.server.people import basic, owner
from tests.server.pictures import jpeg
from tests.server.test_page import CHROMIUM, chromium, until


class HourAgo(SystemClock):
    def wall_ns(self) -> int:
        return super().wall_ns() - 3600 * 10**9


async def upload(server: CameraServer, *pictures: bytes) -> None:
    keys = await server.issue_keys("porch")
    url = f"http://127.0.0.1:{server.port}/v1/cam/porch/picture"
    async with aiohttp.ClientSession(headers=basic(keys.login, keys.password)) as http:
        for picture in pictures:
            async with http.put(url, data=picture) as answer:
                assert answer.status == 201


async def restarted(start: Start, *pictures: bytes, **more: Any) -> CameraServer:
    """A server whose camera sent these pictures before it was started anew."""
    first = await start(notes={}, durable=True, **more)
    await upload(first, *pictures)
    await first.close()
    return await start(notes={}, durable=True)


async def first_live(http: aiohttp.ClientSession, base: str) -> bytes:
    """What a viewer's WebSocket begins with."""
    async with http.ws_connect(f"{base}/api/v1/cameras/porch/live", headers={"Origin": base}) as ws:
        await ws.send_json({"t": "live", "n": 1})
        got = await ws.receive(60)
        assert got.type is WSMsgType.BINARY
        message = wire.unpack(got.data)
        assert isinstance(message, wire.LiveMessage)
        return bytes(message.data)


async def test_who_comes_between_two_uploads_sees_the_last(
    server: CameraServer, viewer: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "FRESH_NS", 0)  # as if it were some seconds ago
    await upload(server, jpeg(1), jpeg(2))
    assert await first_live(viewer, server.urls()[0].rstrip("/")) == jpeg(2)


async def test_after_a_restart_the_last_picture_is_there(start: Start, http: aiohttp.ClientSession) -> None:
    began = time.time()
    server = await restarted(start, jpeg(1), jpeg(2))
    base = server.urls()[0].rstrip("/")
    await http.get(base + server.join_link())
    async with http.get(f"{base}/api/v1/cameras/porch") as answer:
        told = await answer.json()
    assert told["state"] == "away" and told["since_ms"] / 1e3 >= began and told["last_frame_ms"] / 1e3 >= began
    assert await first_live(http, base) == jpeg(2)
    async with http.get(f"{base}/api/v1/cameras/porch/latest.jpg") as answer:
        assert await answer.read() == jpeg(2)


@pytest.mark.parametrize("path", ["latest.jpg", "live.mjpeg", "live.ws"])
async def test_also_for_programs(start: Start, http: aiohttp.ClientSession, path: str) -> None:
    server = await restarted(start, jpeg(3))
    base = server.urls()[0].rstrip("/")
    await http.get(base + server.join_link())
    url = f"{base}/api/v1/cameras/porch/{path}"
    if path.endswith("ws"):
        async with http.ws_connect(url, headers={"Origin": base}) as ws:
            assert (await ws.receive(60)).data == jpeg(3)
        return
    async with http.get(url) as answer:
        data = b""
        while jpeg(3) not in data:
            data += await answer.content.readexactly(1)


async def test_a_camera_that_sent_nothing_is_waited_for(start: Start, http: aiohttp.ClientSession) -> None:
    server = await restarted(start)
    base = server.urls()[0].rstrip("/")
    await http.get(base + server.join_link())
    async with http.get(f"{base}/api/v1/cameras/porch") as answer:
        assert (await answer.json())["state"] == "waiting"
    async with http.get(f"{base}/api/v1/cameras/porch/latest.jpg") as answer:
        assert answer.status == 404


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"NO BROWSER at {CHROMIUM}: the page is NOT tested")
async def test_on_the_page_it_is_said_when_it_came(start: Start) -> None:
    server = await restarted(start, jpeg(4), clock=HourAgo())
    async with chromium() as page:
        await watch_pills(page)
        await page.goto(server.urls()[0].rstrip("/") + server.join_link())
        await until(page, "document.querySelector('.camera.old canvas')?.width > 1")
        await until(page, "document.querySelector('.screen p').textContent.includes('This picture came at')")
        said = await page.locator(".camera .screen p").inner_text()
        came = await page.evaluate("Date.now() - 3600000")
        hour = await page.evaluate("(ms) => new Date(ms).toLocaleTimeString().replace(/:\\d+:\\d+/, ':')", came)
        assert hour.split(":")[0] == said.partition("This picture came at ")[2].split(":")[0], said
        assert await page.evaluate("window.pills.filter((p) => p.startsWith('live'))") == []


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"NO BROWSER at {CHROMIUM}: the page is NOT tested")
async def test_nor_does_it_pass_for_live_where_a_link_shows_it(start: Start) -> None:
    server = await start()
    async with owner(server) as who:
        made = await who.add("porch")
        login = basic(made["login"], made["password"])
        async with chromium() as page:
            await page.goto(made["view_url"], wait_until="commit")
            await until(page, "document.getElementById('when').textContent === 'waiting for the camera'")
            await who.ask("PUT", made["upload_url"], 201, data=jpeg(1), headers=login)
            await until(page, "document.getElementById('when').textContent === 'live'")
            await until(page, "document.querySelector('img.film').naturalWidth > 1")  # without a second picture
            camera = server._cameras.get("porch")
            assert camera is not None and camera.hub.latest is not None
            latest = replace(camera.hub.latest, wall_ns=camera.hub.latest.wall_ns - 3600 * 10**9)
            camera.hub.latest = latest
            async with page.expect_response("**/picture.jpg"):
                pass  # an agent's clock may be wrong
            await page.wait_for_timeout(50)
            assert await page.locator("#when").inner_text() == "live"
            camera.hub.latest = replace(latest, pts_ns=latest.pts_ns - 16 * 10**9)
            await until(
                page, "document.getElementById('when').textContent.startsWith('not live: this picture came at')"
            )
            await who.ask("DELETE", "/api/v1/cameras/porch", 204)
            await until(page, "document.getElementById('when').textContent.includes('does not open anything')")
            assert await page.locator("img.film").count() == 0


async def watch_pills(page: Page) -> None:
    """Collect in `window.pills` whatever the state of a camera is said to be."""
    await page.add_init_script(
        """window.pills = [];
        new MutationObserver(() => document.querySelectorAll('.camera .pill').forEach((p) => pills.push(p.textContent)))
            .observe(document, { subtree: true, childList: true, characterData: true });"""
    )
