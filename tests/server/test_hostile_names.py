"""Whatever people, cameras and agents call things: in Chromium it is text, none of it runs, and no page is broken."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from playwright.async_api import Page

from agent.frame import Item, ItemType
from agent.media import clip
from agent.server.app import CameraServer
from tests.server.agents import Uplink, Uplinks
from tests.server.conftest import Start
from tests.server.people import PASSWORD, basic, person
from tests.server.pictures import frame, jpeg
from tests.server.test_page import chromium, until
from tests.server.test_page import pytestmark as pytestmark
from tests.server.test_settings_page import become_owner

RUN = "window.ran=(window.ran||0)+1"
HOSTILE = (
    f"<img src=x onerror={RUN}>",
    f'"><script>{RUN}</script>',
    f"'\" autofocus onfocus={RUN} x='",
    f"</title><svg/onload={RUN}>",
    f"javascript:{RUN}",
    '"] b]{}',
    "${7*7}{{7*7}}$title$body%s%n",
    "\u202egpj.exe\u2066",
    "a\0b\r\nX: y\x1b[2J",
    "a\ud800b",
    "../../../etc/passwd",
    "W" * 10_000,
)
NOW_NS = time.time_ns()


async def unharmed(page: Page) -> None:
    """Nothing ran, nothing became markup, and nothing is wider than the window."""
    assert await page.evaluate("window.ran ?? 0") == 0
    strange = "script:not([src]), [onerror], [onload], [onfocus], img[src='x'], svg[onload], title + svg"
    assert await page.evaluate(f"[...document.querySelectorAll(`{strange}`)].map((e) => e.outerHTML)") == []
    assert await page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, "wider than its window"


async def answers(uplink: Uplink, told: dict[str, Any]) -> None:
    """An agent that answers each command with the next of these."""
    while True:
        asked = await uplink.control("cmd", 600)
        await uplink.send({"t": "done", "id": asked["id"], **told})


@pytest.fixture
async def uplink(start: Start, connect: Uplinks) -> tuple[CameraServer, Uplink]:
    server = await start()
    return server, await connect(server, "porch", await server.issue_token("porch"))


async def test_what_an_agent_says(uplink: tuple[CameraServer, Uplink]) -> None:
    server, agent = uplink
    await agent.hello()
    for n, words in enumerate(HOSTILE, 1):
        at_ns = NOW_NS + n * 1_000_000_000
        opened = {"event": n, "state": "open", "wall_ns": at_ns, "reason": words, "boxes": [[words]], "score": words}
        closed = {"event": n, "state": "closed", "wall_ns": at_ns, "end_ns": at_ns + 1, "why": words, "zone": words}
        for seq, (kind, payload) in enumerate(
            (
                (ItemType.EVENT, json.dumps(opened).encode()),
                (ItemType.CLIP, clip.pack((frame(n, at_ns),))),
                (ItemType.EVENT, json.dumps(closed | {"biggest": [0, 0, 1, 1]}).encode()),
            ),
            3 * n - 2,
        ):
            await agent.put(Item("porch", agent.spool, seq, kind, n, at_ns, payload, Item.digest(payload)))
        await agent.send({"t": "dropped", "spool": agent.spool, "first": 1, "last": 1, "why": words})
    await agent.acked(3 * len(HOSTILE))
    entries = [
        {"id": n, "first_ns": NOW_NS + n, "last_ns": NOW_NS + n, "count": 1, "reason": words, "box": [0, 0, 1, 1],
         "evidence": words, "wanted": words, "zone": words, "event": n, "score": words}
        for n, words in enumerate(HOSTILE, 1)
    ]  # fmt: skip
    told: dict[str, Any] = {"ok": True, "result": {"run": HOSTILE[0], "change": 1, "armed": True, "entries": entries}}
    answering = asyncio.create_task(answers(agent, told))
    try:
        async with chromium() as page:
            complaints = await become_owner(page, server)
            await until(page, f"document.querySelectorAll('.event').length === {len(HOSTILE)}")
            await unharmed(page)
            for n in range(1, len(HOSTILE) + 1):
                await page.evaluate(f"location.hash = '#event=porch/{n}'")
                await until(page, "document.getElementById('player').open && cameraAgent.shown !== undefined")
                await until(page, "document.getElementById('where').textContent.includes('largest')")
                await unharmed(page)
                await page.keyboard.press("Escape")
                await until(page, "!document.getElementById('player').open && location.hash === ''")
            await page.get_by_role("button", name="Why?").click()
            await until(page, f"document.querySelectorAll('#why-list li').length >= {len(HOSTILE) - 1}")
            keys = await page.evaluate("[...document.querySelectorAll('.reason')].map((b) => b.dataset.key)")
            for key in [k for k in keys if '"' in k]:
                await page.evaluate(
                    "(key) => [...document.querySelectorAll('.reason')].find((b) => b.dataset.key === key).focus()", key
                )
                told["result"]["change"] += 1
                await page.evaluate("window.row = document.querySelector('.reason')")
                await until(page, "document.querySelector('.reason') !== window.row")
                assert await page.evaluate("document.activeElement.dataset.key") == key, "it is still the one chosen"
            await unharmed(page)
            for words in HOSTILE:
                told.clear()
                told |= {"ok": False, "error": words}
                await page.locator("#why-arm").click()
                await unharmed(page)
            assert [c for c in complaints if "404" not in c] == [], "latest.jpg is not there: this agent films nothing"
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)


async def test_what_people_and_cameras_call_things(start: Start) -> None:
    server = await start()
    async with chromium() as page, person(server) as who:
        complaints = await become_owner(page, server)
        await who.ask("POST", "/login", data={"user": "owner", "password": PASSWORD})
        made = await who.add("porch")
        async with aiohttp.ClientSession(headers=basic(made["login"], made["password"])) as http:
            for words in HOSTILE[:-1]:
                name = quote(words.encode("utf-8", "replace"), safe="")
                assert (await http.put(f"{made['upload_url']}{name}", data=jpeg(1))).status in (201, 404)
                label = words.encode("utf-8", "replace").replace(b"\r\n", b" ")
                head = b'--B\r\nContent-Disposition: form-data; name="a"; filename="%b"\r\n\r\n' % label
                form = {"Content-Type": "multipart/form-data; boundary=B"}
                answer = await http.post(made["upload_url"], data=head + jpeg(2) + b"\r\n--B--\r\n", headers=form)
                assert answer.status in (201, 400)
        for words in HOSTILE:
            answer = await who.http.post(who.base + "/api/v1/tokens", json={"name": words[:200]})
            assert answer.status == (400 if "\ud800" in words else 201), await answer.text()
            for path, told in (("/api/v1/cameras", {"name": words}), ("/api/v1/shares", {"camera": words})):
                assert (await who.http.post(who.base + path, json=told)).status in (400, 404)
            pull = f"http://127.0.0.1:9/?{words[:1000]}"
            answer = await who.http.put(f"{who.base}/api/v1/cameras/porch", json={"name": "porch", "pull": pull})
            assert answer.status in (200, 400), await answer.text()
            link = (await who.ask("POST", "/api/v1/invitations", 201, json={}))["url"]
            guest = await (page.context.browser or page.context).new_page()  # type: ignore[union-attr]
            guest.on("pageerror", lambda e: complaints.append(str(e)))
            await guest.goto(link)
            await guest.locator("#user").evaluate(
                "(field, words) => { field.maxLength = 1e6; field.value = words; }", words
            )
            await guest.get_by_label("Password").fill(PASSWORD)
            await guest.get_by_label("The same again").fill(PASSWORD)
            async with guest.expect_navigation():
                await guest.get_by_role("button").click()
            await unharmed(guest)
            await guest.goto(f"{server.urls()[0]}{quote(words[:3000].encode('utf-8', 'replace'), safe='')}")
            await unharmed(guest)
            await guest.close()
            await page.goto(f"{server.urls()[0]}#event={quote(words.encode('utf-8', 'replace'))}")
            await page.locator(".event").first.wait_for()
            await unharmed(page)
            await page.goto(server.urls()[0] + "settings")
            await until(page, "document.getElementById('cameras-list').children.length > 0")
            await until(page, "document.getElementById('tokens-list').children.length > 0")
            await until(page, "document.getElementById('people-list').children.length > 0")
            await unharmed(page)
        assert complaints == []
        names = {a["name"] for a in (await who.ask("GET", "/api/v1/accounts"))["accounts"]}
        assert all(name.isprintable() for name in names)


async def test_no_page_allows_inline_code(start: Start) -> None:
    server = await start()
    async with person(server) as who:
        await who.ask("POST", server.setup_link() or "", data={"password": PASSWORD, "again": PASSWORD})
        for path in ("/", "/settings", "/login", "/nothing", "/static/app.js", "/api/v1/about", "/health", "/metrics"):
            async with who.http.get(who.base + path) as answer:
                policy = dict(p.split(" ", 1) for p in answer.headers["Content-Security-Policy"].split("; "))
                text = await answer.text()
            assert policy["script-src"] == policy["style-src"] == "'self'" and policy["default-src"] == "'none'", path
            assert "<style" not in text and " style=" not in text and " on" + "click=" not in text
