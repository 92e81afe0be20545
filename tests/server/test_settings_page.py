"""The pages for adding, sharing and inviting, in Chromium, as their reader uses them."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from playwright.async_api import Page, async_playwright

from agent.server.app import CameraServer
from agent.server.camera import CameraSettings
from tests.ports import free_port
from tests.server.conftest import Start
from tests.server.people import PASSWORD, basic, invited, person
from tests.server.pictures import jpeg
from tests.server.test_page import CHROMIUM, chromium, until

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"NO BROWSER at {CHROMIUM}: the pages are NOT tested")


async def become_owner(page: Page, server: CameraServer) -> list[str]:
    """Through the set-up form; the list fills with what the browser complains of."""
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: complaints.append(str(e)))
    await page.goto(server.setup_link() or "")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_label("The same again").fill(PASSWORD)
    await page.get_by_role("button", name="Become the owner").click()
    return complaints


async def test_a_day_in_the_life_of_the_owner(start: Start) -> None:
    server = await start(ftp_port=0)
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1100, "height": 900})
        complaints = await become_owner(page, server)
        page.on("dialog", lambda d: d.accept())

        # Add a camera from the first page; its box has everything.
        await page.get_by_role("button", name="Add a camera").click()
        await page.get_by_label("Name (").press_sequentially("Front Porch")
        assert await page.get_by_label("Name (").input_value() == "front-porch", "as a phone's keyboard writes it"
        await page.get_by_label("Name (").fill("porch")
        await page.get_by_label("It ends").select_option(label="in a day")
        await page.get_by_role("button", name="Add", exact=True).click()
        await page.locator("#added-box .handover").wait_for()
        await until(page, "document.activeElement.closest('#added') !== null")
        lines = await page.locator("#added-box .line code").all_text_contents()
        assert {line.split()[0] for line in lines if line} >= {"curl", "ffmpeg", "camera-agent"}
        assert any(line.startswith("curl -T picture.jpg ftp://") for line in lines)
        assert "-re before -i" in (await page.locator("#added-box").text_content() or "")
        upload = next(line for line in lines if line.endswith("/v1/cam/porch/picture/"))
        login = next(line for line in lines if line.startswith("curl -u")).split()[2].split(":")
        await page.get_by_role("button", name="Done").click()
        await page.locator("#added-box *").first.wait_for(state="detached")

        # A camera uploads; the event plays, is kept and shared.
        url = upload.split()[-1]
        async with aiohttp.ClientSession(headers=basic(*login)) as http:
            assert (await http.put(url, data=jpeg(3))).status == 201
        await page.locator(".event").first.click()
        await page.get_by_role("button", name="Keep").click()
        await page.get_by_role("button", name="Kept").wait_for()
        await page.get_by_role("button", name="Share", exact=True).click()
        await until(page, "document.getElementById('shared').textContent.includes('/s/')")
        shared = await page.locator("#shared code").inner_text()
        stranger = await (await browser.new_context()).new_page()
        await stranger.goto(shared)
        await until(stranger, "document.querySelector('img.film')?.naturalWidth === 160")
        await stranger.goto(server.urls()[0])
        assert "/login" in stranger.url

        # The settings page: storage, an invitation, a token, the share's views, and the end.
        await page.goto(server.urls()[0] + "settings")
        await page.get_by_text("1 event,").wait_for()
        await page.get_by_text("opened once").wait_for()
        await page.locator("#cameras-list").get_by_role("button", name="Settings").click()
        porch = server._cameras.get("porch")
        assert porch is not None and (ends_ns := porch.settings.ends_ns) is not None
        await page.get_by_label("Delete recordings after").fill("3")
        await page.get_by_label("Keep at most").last.fill("0.5")
        await page.get_by_role("button", name="Save").click()
        await page.locator("#cameras-list form").wait_for(state="detached")
        assert (porch.settings.retention_days, porch.settings.quota_bytes) == (3, 500_000_000)
        assert abs((porch.settings.ends_ns or 0) - ends_ns) < 60e9, "what was not touched stays"
        await page.get_by_placeholder("my script").fill("my script")
        await page.locator("#new-token").get_by_label("At").select_option("porch")
        await page.get_by_role("button", name="Make").click()
        token = await page.locator("#token-made code").inner_text()
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http:
            assert (await http.get(server.urls()[0] + "api/v1/cameras/porch")).status == 200
        await page.get_by_text("may look at porch · until").wait_for()
        await page.get_by_role("button", name="Invite somebody").click()
        link = await page.locator("#invited code").inner_text()
        await stranger.goto(link)
        await stranger.get_by_label("Your name here").fill("ben")
        await stranger.get_by_label("Password").fill(PASSWORD)
        await stranger.get_by_label("The same again").fill(PASSWORD)
        await stranger.get_by_role("button", name="Come in").click()
        await stranger.get_by_text("No camera yet").wait_for()
        await page.locator("#cameras-list").get_by_role("button", name="Delete").click()
        await page.get_by_text("None yet").wait_for()
        await page.get_by_text("No links: nobody looks").wait_for()
        assert not (server.settings.store_path / "items" / "porch").exists()
        assert complaints == []
        await browser.close()


async def test_who_was_shown_a_camera_is_seen_and_sent_away(start: Start) -> None:
    server = await start()
    async with chromium() as page, person(server) as who:
        complaints = await become_owner(page, server)
        await who.ask("POST", "/login", data={"user": "owner", "password": PASSWORD})
        await who.add("porch")
        async with invited(server, who, "carl", "porch") as carl:
            page.on("dialog", lambda d: d.accept())
            await page.goto(server.urls()[0] + "settings")
            await page.get_by_text("0 events, 0 kB").wait_for()
            await page.get_by_text("Also seen by carl").wait_for()
            await carl.ask("GET", "/api/v1/cameras/porch")
            await page.get_by_role("button", name="Remove carl").click()
            await page.get_by_text("Also seen by").wait_for(state="detached")
            await carl.ask("GET", "/api/v1/cameras/porch", 401)
        await page.locator("#cameras-list").get_by_role("button", name="Settings").click()
        await page.locator("#cameras-list form").wait_for()
        assert complaints == []


async def test_a_login_on_the_way_keeps_the_event_that_a_link_named(start: Start) -> None:
    server = await start()
    link = server.setup_link()
    assert link is not None
    async with person(server) as who:
        await who.ask("POST", link, data={"password": PASSWORD, "again": PASSWORD})
    async with chromium() as page:
        await page.goto(server.urls()[0] + "#event=7")
        assert "/login" in page.url
        names: list[str] = []
        for password in ("not the right one", PASSWORD):
            names.append(await page.input_value("#user"))
            await page.fill("#user", "owner")
            await page.fill("#password", password)
            async with page.expect_navigation():
                await page.click("button[type=submit]")
        assert page.url == server.urls()[0] + "#event=7"
        assert names == ["", "owner"], "a wrong password costs only the password"


async def test_the_page_says_why_a_camera_cannot_be_fetched(start: Start) -> None:
    server = await start()
    async with async_playwright() as play:
        browser = await play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = await browser.new_page()
        complaints = await become_owner(page, server)
        nobody = f"http://127.0.0.1:{free_port()}/video.cgi"
        keys = await server.issue_keys("porch", CameraSettings(pull=nobody))
        porch = server._cameras.get(keys.name)
        async with asyncio.timeout(60):
            while porch is not None and not porch.pull_error:
                await asyncio.sleep(0.05)
        await page.goto(server.urls()[0] + "settings")
        row = page.locator("#cameras-list li", has_text="porch")
        await row.get_by_text("Its pictures cannot be fetched: ").wait_for()
        assert "(connection refused)" in await row.inner_text()
        assert complaints == []
