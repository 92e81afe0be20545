"""The page in Chromium: live pictures and events arrive there as the camera's own bytes, and play."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import cv2
import pytest
from playwright.async_api import Page, Route, async_playwright

from agent.clock import SystemClock
from agent.hub import Hub
from agent.outbox import MemoryOutbox
from agent.server.app import CameraServer
from agent.server.web.live import Viewer
from agent.sinks import Feed
from agent.sinks.websocket import WebSocketSink
from agent.supervise import Health, supervise
from tests.server.pictures import frame, put_event

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"NO BROWSER at {CHROMIUM}: the page is NOT tested")


@asynccontextmanager
async def chromium() -> AsyncIterator[Page]:
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1100, "height": 800})
        yield page
        await browser.close()


@pytest.fixture
async def page(server: CameraServer) -> AsyncIterator[Page]:
    async with chromium() as page:
        yield page


class Agent:
    """A small agent: our own uplink, fed by the test."""

    def __init__(self, server: CameraServer, token: str) -> None:
        self.box = MemoryOutbox("porch")
        self.hub = Hub()
        self.sent: dict[int, str] = {}
        url = f"ws://127.0.0.1:{server.port}"
        sink, health = WebSocketSink(url=url, token=token), Health()
        feed = Feed("porch", self.box, self.hub, lambda: health.worked("porch", SystemClock()))
        self._tasks = [
            asyncio.create_task(supervise("porch", lambda: sink.run(feed), health)),
            asyncio.create_task(self._film()),
        ]

    async def _film(self) -> None:
        n = 0
        while True:
            picture = frame(n)
            self.sent[n] = hashlib.sha256(picture.data).hexdigest()
            self.hub.publish(picture)
            n += 1
            await asyncio.sleep(0.1)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def agent(server: CameraServer) -> AsyncIterator[Agent]:
    agent = Agent(server, await server.issue_token("porch"))
    yield agent
    await agent.end()


async def until(page: Page, expression: str) -> None:
    """Wait until it is true in the page; playwright's own way to wait needs `eval`, which the page forbids."""
    try:
        async with asyncio.timeout(60):
            while not await page.evaluate(expression):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"never: {expression} in {await page.inner_html('main')}") from None


async def enter(page: Page, server: CameraServer) -> list[str]:
    """Open the page by a link; the list fills with what the browser complains of."""
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: complaints.append(str(e)))
    await page.goto(server.urls()[0].rstrip("/") + server.join_link())
    return complaints


async def test_live_frames_arrive_unchanged(server: CameraServer, page: Page, agent: Agent) -> None:
    complaints = await enter(page, server)
    await until(page, "window.cameraAgent?.lastFrame?.index > 3")
    got = await page.evaluate(
        "async () => { const f = cameraAgent.lastFrame; return [f.index, f.camera, await cameraAgent.sha256(f.bytes)] }"
    )
    assert got == [got[0], "porch", agent.sent[got[0]]]
    await until(page, "document.querySelector('.camera .pill')?.textContent.startsWith('live')")
    assert server.viewers() == 1
    assert complaints == []


async def test_an_old_picture_does_not_pass_for_a_live_one(server: CameraServer, page: Page, agent: Agent) -> None:
    await enter(page, server)
    await until(page, "window.cameraAgent?.lastFrame?.index > 3")
    assert await page.locator(".camera.old").count() == 0
    await agent.end()
    await until(page, "document.querySelector('.camera.old .screen p:not([hidden])')?.textContent.includes('is away')")
    assert "This picture came at" in await page.locator(".camera .screen p").inner_text()
    again = Agent(server, await server.issue_token("porch"))
    await until(page, "document.querySelector('.camera:not(.old) .screen p')?.hidden")
    await again.end()


async def test_many_credits_are_given_and_taken_back_out_of_sight(
    server: CameraServer, page: Page, agent: Agent
) -> None:
    await enter(page, server)
    await until(page, "window.cameraAgent?.lastFrame?.index > 3")
    camera, [viewer] = server._cameras.get("porch"), list(server._live._open)
    assert camera is not None
    async with asyncio.timeout(30):
        while viewer._outlet.credits < 16:
            await asyncio.sleep(0.05)
    at = await page.evaluate("{ document.getElementById('cameras').hidden = true; cameraAgent.lastFrame.index }")
    async with asyncio.timeout(30):
        while camera.hub.readers:
            await asyncio.sleep(0.05)
    last = await page.evaluate("cameraAgent.lastFrame.index")
    assert last - at < 15, "what was given is taken back"
    await page.evaluate("document.getElementById('cameras').hidden = false")
    await until(page, f"cameraAgent.lastFrame.index > {last}")


async def test_a_page_that_hangs_and_draws_slowly_shows_what_is_there_now(
    server: CameraServer, page: Page, agent: Agent
) -> None:
    await enter(page, server)
    [viewer] = await _many_credits(server)
    # What comes while the page hangs waits in the browser, and then two more while one is drawn.
    await page.evaluate("""() => {
      const came = [], real = createImageBitmap;
      let ms = 2000;
      window.late = [];
      cameraAgent.onFrame = (f) => came.push(f);
      window.createImageBitmap = async (blob) => {
        const sum = await cameraAgent.sha256(await blob.arrayBuffer());
        for (const end = performance.now() + ms; performance.now() < end;);
        ms = 250;
        for (const f of came) if (await cameraAgent.sha256(f.bytes) === sum) late.push(Date.now() - f.wallNs / 1e6);
        came.splice(0, came.length - 40);
        return real(blob);
      };
    }""")
    await asyncio.sleep(6)
    late = await page.evaluate("late")
    assert len(late) >= 5 and max(late[2:]) < 1500, late
    assert viewer._outlet.credits <= 3, "and the server leaves pictures out"


async def _many_credits(server: CameraServer) -> list[Viewer]:
    """The viewers, once a page that keeps up has given many."""
    async with asyncio.timeout(60):
        while not any(viewer._outlet.credits >= 16 for viewer in server._live._open):
            await asyncio.sleep(0.05)
    return list(server._live._open)


async def test_a_phone_shows_all_of_it(server: CameraServer, page: Page, agent: Agent) -> None:
    await page.set_viewport_size({"width": 340, "height": 700})
    await enter(page, server)
    await until(page, "window.cameraAgent?.lastFrame?.index > 3")
    await page.evaluate("document.querySelector('.camera .move').hidden = false")  # the widest: something moves
    outside = """[...document.querySelectorAll("header *, .camera *")].filter((e) => {
      const box = e.getBoundingClientRect(), card = (e.closest(".camera") ?? document.body).getBoundingClientRect();
      return box.width && (box.right > card.right || box.left < card.left);
    }).map((e) => e.outerHTML)"""
    assert await page.evaluate(outside) == []
    name = await page.locator(".camera .name").bounding_box()
    assert name is not None and name["height"] < 40, "the camera's name stands in one line"
    top, out = (
        await page.locator("header strong").bounding_box(),
        await page.locator("header form button").bounding_box(),
    )
    assert top and out and abs(top["y"] + top["height"] / 2 - out["y"] - out["height"] / 2) < 20, "one row"


async def test_a_link_opens_its_event(server: CameraServer, page: Page, agent: Agent) -> None:
    complaints = await enter(page, server)
    now = time.time_ns()
    for number in (1, 2, 3):
        put_event(agent.box, number, now + number * 2_000_000_000)
    await until(page, "document.querySelectorAll('.event').length === 3")
    await page.goto("about:blank")
    await page.goto(server.urls()[0] + "#event=porch/2")
    await until(page, "document.getElementById('player').open && window.cameraAgent.shown !== undefined")
    second = await page.evaluate("fetch('/api/v1/events').then((r) => r.json()).then((p) => p.events[1])")
    shown = await page.evaluate("cameraAgent.shown.url")
    full = await page.evaluate(f"fetch('/api/v1/events/{second['id']}').then((r) => r.json())")
    assert second["number"] == 2 and shown in [item["url"] for item in full["items"]]
    await page.keyboard.press("Escape")
    await until(page, "!document.getElementById('player').open && location.hash === ''")
    await page.evaluate(f"location.hash = '#event={second['id']}'")
    await until(page, "document.getElementById('player').open")
    await page.keyboard.press("Escape")
    # The player clears the link when it has closed: a new one before that would go with it.
    await until(page, "!document.getElementById('player').open && location.hash === ''")
    await page.evaluate("location.hash = '#event=porch/77'")
    await until(page, "document.getElementById('notes').textContent.includes('not here')")
    assert complaints == []


async def test_a_camera_that_comes_before_anybody_listens_is_shown(server: CameraServer, page: Page) -> None:
    """Between the reading of the list and the first news nothing is told."""
    came = asyncio.Event()

    async def hold(route: Route) -> None:
        await came.wait()
        await route.continue_()

    await page.route("**/api/v1/news", hold)
    await enter(page, server)
    await page.get_by_text("Nothing has moved yet").wait_for()
    await server.add_camera("porch")
    came.set()
    await page.locator(".camera").wait_for()


async def test_event_appears_and_plays(server: CameraServer, page: Page, agent: Agent) -> None:
    complaints = await enter(page, server)
    await page.get_by_text("Nothing has moved yet").wait_for()
    pictures = put_event(agent.box, 1, time.time_ns(), close=False)
    await page.locator(".event.open").wait_for()
    await until(page, "document.querySelector('.event img')?.naturalWidth === 160")
    await page.evaluate(
        "() => { window.seen = []; cameraAgent.onShown = (f) => seen.push(cameraAgent.sha256(f.bytes)) }"
    )
    await page.locator(".event").click()
    await until(page, "window.seen.length >= 10")
    assert await page.evaluate("Promise.all(seen)") == [hashlib.sha256(p).hexdigest() for p in pictures]
    async with page.expect_download() as saving:
        await page.get_by_text("Save picture").click()
    assert Path(await (await saving.value).path()).read_bytes() == pictures[-1]
    async with page.expect_download() as saving:
        await page.get_by_text("Save film").click()
    film = await saving.value
    assert film.suggested_filename == "porch-1.avi"
    shown = cv2.VideoCapture(str(await film.path()))
    assert shown.get(cv2.CAP_PROP_FRAME_COUNT) == len(pictures) and shown.get(cv2.CAP_PROP_FPS) == 10
    assert shown.read()[1].shape == (120, 160, 3)
    saved = Path(await film.path()).read_bytes()
    assert all(p in saved for p in pictures), "the camera's own bytes"
    assert complaints == []


async def test_what_the_news_told_outlives_an_answer_that_is_older(
    server: CameraServer, page: Page, agent: Agent
) -> None:
    """The list is read again when the news begin; what happens while that answer is on its way must stay."""
    asked, made, told = 0, asyncio.Event(), asyncio.Event()
    left: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def late(route: Route) -> None:
        nonlocal asked
        asked += 1
        if asked == 3:  # one reading at a time: the late answer has been entered
            left.set_result(await page.locator(".event.open").count())
        answer = await route.fetch()
        if asked == 2:
            made.set()
            await told.wait()
        await route.fulfill(response=answer)

    await page.route("**/api/v1/events?*", late)
    await enter(page, server)
    await asyncio.wait_for(made.wait(), 60)
    put_event(agent.box, 1, time.time_ns(), close=False)
    await until(page, "document.querySelector('.event.open img')?.naturalWidth === 160")
    await server.add_camera("gate")  # which has everything read once more
    told.set()
    assert await asyncio.wait_for(left, 60) == 1


async def test_a_thumbnail_that_did_not_come_is_asked_for_again(
    server: CameraServer, page: Page, agent: Agent, viewer: aiohttp.ClientSession
) -> None:
    """Also of an event that is over, of which no news will come."""
    put_event(agent.box, 1, time.time_ns())
    base, states = server.urls()[0], [""]
    async with asyncio.timeout(60):
        while states != ["closed"]:
            await asyncio.sleep(0.05)
            async with viewer.get(base + "api/v1/events") as listed:
                states = [e["state"] for e in (await listed.json())["events"]]
    items, aside = server.settings.store_path / "items", server.settings.store_path / "aside"
    answers: list[int] = []

    async def not_there_at_first(route: Route) -> None:
        early = len(answers) < 2  # the list is read twice when the page opens, and each reading asks, too
        if early:
            items.rename(aside)
        answer = await route.fetch()
        if early:
            aside.rename(items)
        answers.append(answer.status)
        await route.fulfill(response=answer)

    await page.route("**/thumb.jpg?*", not_there_at_first)
    await enter(page, server)
    await until(page, "document.querySelector('.event img')?.naturalWidth === 160")
    assert answers == [404, 404, 200]
