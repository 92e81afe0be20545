"""One event is deleted: with everything of it, for good, and nothing else."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import aiohttp
import pytest
from playwright.async_api import Dialog

from agent.frame import Item
from agent.outbox import MemoryOutbox
from agent.server.app import CameraServer
from agent.server.archive import Outcome
from agent.server.fsck import check
from agent.server.index.rows import Grant
from agent.server.notify import WebhookSettings
from tests.server.conftest import Start
from tests.server.people import PASSWORD, Person, invited, owner, person
from tests.server.pictures import put_event
from tests.server.test_news import news
from tests.server.test_page import CHROMIUM, chromium, until
from tests.server.test_settings_page import become_owner

EVENTS = "/api/v1/events"


async def sent(box: MemoryOutbox, number: int, close: bool = True) -> list[Item]:
    """The items of an event as an agent makes them, each some seconds after the one before."""
    put_event(box, number, time.time_ns() + number * 2_000_000_000, close=close)
    session = box.session()
    items = [await session.take() for _ in range(len(box))]
    box.ack(items[-1].seq)
    return items


async def store(server: CameraServer, items: list[Item]) -> list[Outcome]:
    camera = server._cameras.get(items[0].camera)
    assert camera is not None
    return [await server._intake.take(camera, item) for item in items]


def files(server: CameraServer) -> set[str]:
    return {p.name for p in (server.settings.store_path / "items").rglob("*.*")}


async def events(who: Person) -> dict[int, int]:
    """The ids of the events by their numbers."""
    return {e["number"]: e["id"] for e in (await who.ask("GET", EVENTS))["events"]}


async def test_everything_of_the_event_goes_and_nothing_else(start: Start) -> None:
    server = await start()
    box = MemoryOutbox("porch")
    async with asyncio.timeout(60), owner(server) as who, person(server) as anybody:
        await who.add("porch")
        first, second = await sent(box, 1), await sent(box, 2)
        assert set(await store(server, first + second)) == {Outcome.STORED}
        there = await events(who)
        detail = await who.ask("GET", f"{EVENTS}/{there[1]}")
        links = [await who.ask("POST", "/api/v1/shares", 201, json={"event": there[n]}) for n in (1, 2)]
        heard = news(who)
        await anext(heard)

        await who.ask("DELETE", f"{EVENTS}/{there[1]}", 204)
        kind, told = await anext(heard)
        assert (kind, told["type"]) == ("event", "camera-agent.event.deleted.v1")
        assert (told["data"]["id"], told["data"]["state"]) == (there[1], "deleted")
        await who.ask("DELETE", f"{EVENTS}/{there[1]}", 404)

        for path in ("", "/thumb.jpg", "/event.avi", "/course"):
            await who.ask("GET", f"{EVENTS}/{there[1]}{path}", 404)
        await who.ask("GET", detail["items"][0]["url"], 404)
        assert await events(who) == {2: there[2]}
        assert files(server) == {f"{i.seq}.{'clip' if i.type.name == 'CLIP' else 'json'}" for i in second}
        await who.ask("POST", "/api/v1/shares", 404, json={"event": there[1]})
        for link, status in zip(links, (404, 200), strict=True):
            async with anybody.http.get(link["url"]) as page:
                assert page.status == status
        assert [s["event"] for s in (await who.ask("GET", "/api/v1/shares"))["shares"] if s["event"]] == [there[2]]
        assert len((await who.ask("GET", f"{EVENTS}/{there[2]}"))["items"]) == 4


async def test_what_is_sent_again_is_known_and_does_not_come_back(start: Start) -> None:
    server = await start()
    async with owner(server) as who:
        await who.add("porch")
        items = await sent(MemoryOutbox("porch"), 1)
        await store(server, items)
        await who.ask("DELETE", f"{EVENTS}/{(await events(who))[1]}", 204)
        assert await store(server, items) == [Outcome.DUPLICATE] * len(items)
        other = replace(items[1], payload=items[2].payload, sha256=items[2].sha256)
        assert await store(server, [other]) == [Outcome.CONFLICT], "the number stays taken"
        assert await events(who) == {} and files(server) == set()
        report = await asyncio.to_thread(check, server.settings.store_path)
        assert (report.lost, report.torn, report.wrong, report.unindexed) == (0, 0, 0, 0)


async def test_one_that_is_kept_or_goes_on_stays(start: Start) -> None:
    server = await start()
    box = MemoryOutbox("porch")
    async with owner(server) as who:
        await who.add("porch")
        await store(server, await sent(box, 1))
        await store(server, await sent(box, 2, close=False))
        there = await events(who)
        await who.ask("PUT", f"{EVENTS}/{there[1]}/kept", json={"kept": True})
        for number, why in ((1, "kept"), (2, "goes on")):
            async with who.http.delete(f"{who.base}{EVENTS}/{there[number]}") as answer:
                assert answer.status == 409 and why in (await answer.json(content_type=None))["detail"]
            assert len((await who.ask("GET", f"{EVENTS}/{there[number]}"))["items"]) == 4
        await who.ask("PUT", f"{EVENTS}/{there[1]}/kept", json={"kept": False})
        await who.ask("DELETE", f"{EVENTS}/{there[1]}", 204)
        assert (await events(who)).keys() == {2}


async def test_what_of_it_comes_later_is_another_event(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.server.catalog.SILENT_NS", 1)  # its line was cut: what is left comes when it is back
    server = await start()
    async with owner(server) as who:
        await who.add("porch")
        items = await sent(MemoryOutbox("porch"), 1)
        await store(server, items[:3])
        before = (await events(who))[1]
        await who.ask("DELETE", f"{EVENTS}/{before}", 204)
        assert await store(server, items) == [Outcome.DUPLICATE] * 3 + [Outcome.STORED] * 3
        after = (await events(who))[1]
        assert after != before
        assert [i["seq"] for i in (await who.ask("GET", f"{EVENTS}/{after}"))["items"]] == [4, 5]


async def test_who_only_looks_may_not(start: Start) -> None:
    server = await start()
    async with owner(server) as who:
        await who.add("porch")
        await store(server, await sent(MemoryOutbox("porch"), 1))
        id_ = (await events(who))[1]
        token = (await who.ask("POST", "/api/v1/tokens", 201, json={"name": "looks"}))["token"]
        async with person(server, token) as program, invited(server, who, "viewer", "porch") as viewer:
            await program.ask("DELETE", f"{EVENTS}/{id_}", 403)
            await viewer.ask("DELETE", f"{EVENTS}/{id_}", 403)
        async with person(server) as anybody:
            await anybody.ask("DELETE", f"{EVENTS}/{id_}", 401)
        assert len((await who.ask("GET", f"{EVENTS}/{id_}"))["items"]) == 4


async def test_who_has_cameras_of_their_own_may_not_where_one_was_shown_to_them(start: Start) -> None:
    """The route lets them in, as it does not know whose the event is."""
    server = await start()
    async with owner(server) as who, invited(server, who, "ben") as ben:
        await who.add("porch")
        await store(server, await sent(MemoryOutbox("porch"), 1))
        id_ = (await events(who))[1]
        [account] = [a.id for a in server._accounts.all() if a.name == "ben"]
        assert server._archive is not None
        await server._archive.index.write(lambda rows: rows.grants.put(Grant(account, "porch")))
        await server._accounts.load()
        await ben.ask("GET", f"{EVENTS}/{id_}")
        await ben.ask("DELETE", f"{EVENTS}/{id_}", 403)
        await ben.ask("PUT", f"{EVENTS}/{id_}/kept", 403, json={"kept": True})
        assert len((await who.ask("GET", f"{EVENTS}/{id_}"))["items"]) == 4


async def test_a_note_of_it_that_was_not_told_yet_is_not_told(start: Start) -> None:
    nowhere = WebhookSettings(type="webhook", url="http://127.0.0.1:9/")
    server = await start(notify=(nowhere,))
    box = MemoryOutbox("porch")
    async with owner(server) as who:
        await who.add("porch")
        await store(server, await sent(box, 1) + await sent(box, 2))
        await who.ask("DELETE", f"{EVENTS}/{(await events(who))[1]}", 204)
        assert server._archive is not None
        notes = await server._archive.index.read(lambda rows: rows.notes.find())
        assert [n.number for n in notes] == [2]


async def test_a_shared_film_that_plays_ends(start: Start) -> None:
    server = await start()
    async with asyncio.timeout(60), owner(server) as who, person(server) as anybody:
        await who.add("porch")
        box = MemoryOutbox("porch")
        put_event(box, 1, time.time_ns(), frames=300)
        session = box.session()
        await store(server, [await session.take() for _ in range(len(box))])
        id_ = (await events(who))[1]
        link = await who.ask("POST", "/api/v1/shares", 201, json={"event": id_})
        async with anybody.http.get(link["url"] + "/film.mjpeg") as film:
            await film.content.readany()
            await who.ask("DELETE", f"{EVENTS}/{id_}", 204)
            rest = await film.content.read()
        assert rest.count(b"image/jpeg") < 50, "of thirty seconds"
        async with aiohttp.ClientSession() as http, http.get(link["url"] + "/film.mjpeg") as again:
            assert again.status == 404


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"NO BROWSER at {CHROMIUM}: the page is NOT tested")
async def test_the_owner_deletes_events_on_the_page(start: Start) -> None:
    server = await start()
    async with chromium() as page, chromium() as elsewhere, person(server) as who:
        complaints = await become_owner(page, server)
        asked: list[str] = []
        answers = [False, True, True]

        async def answer(dialog: Dialog) -> None:
            asked.append(dialog.message)
            await (dialog.accept() if answers[len(asked) - 1] else dialog.dismiss())

        page.on("dialog", answer)
        await who.ask("POST", "/login", data={"user": "owner", "password": PASSWORD})
        await who.add("porch")
        box = MemoryOutbox("porch")
        for number in (1, 2, 3):
            await store(server, await sent(box, number))
        await store(server, await sent(box, 4, close=False))
        there = await events(who)
        await elsewhere.goto(server.urls()[0] + "login")
        await elsewhere.get_by_label("Password").fill(PASSWORD)
        await elsewhere.get_by_role("button", name="Log in").click()
        for one in (page, elsewhere):
            await one.goto(server.urls()[0])
            await until(one, "document.querySelectorAll('.event').length === 4")
        delete = page.locator("#delete")

        # One that goes on, and one that is kept.
        await page.locator(".event").nth(0).click()
        assert await delete.is_disabled() and await delete.get_attribute("title") == "It goes on"
        await page.keyboard.press("Escape")
        await page.locator(".event").nth(1).click()
        await page.get_by_role("button", name="Keep").click()
        await page.get_by_role("button", name="Kept").wait_for()
        assert await delete.is_disabled()
        await page.get_by_role("button", name="Kept").click()
        await page.get_by_role("button", name="Keep").wait_for()

        # Asked first, and then gone, also where somebody else looks at it.
        await elsewhere.locator(".event").nth(1).click()
        await elsewhere.locator("#player[open]").wait_for()
        await delete.click()
        await until(page, "document.activeElement.id === 'delete'")
        assert await page.locator("#player[open]").count() == 1 and await events(who) == there
        await delete.click()
        await page.locator("#player[open]").wait_for(state="detached")
        await until(page, "document.querySelectorAll('.event').length === 3")
        assert asked == ["Delete this event with its 10 pictures? Links to it end, too."] * 2
        assert (await events(who)).keys() == {4, 2, 1}
        assert await page.locator("#said").inner_text() == "The event is deleted."
        await until(elsewhere, "document.querySelectorAll('.event').length === 3")
        await elsewhere.get_by_text("This event was deleted.").wait_for()
        await until(elsewhere, "['keep', 'share', 'delete'].every((id) => document.getElementById(id).hidden)")

        # The older one has the focus: the keyboard goes on from there.
        await page.keyboard.press("Enter")
        await until(page, "document.getElementById('play').textContent === '❚❚'")
        await page.keyboard.press("Delete")
        await until(page, "document.querySelectorAll('.event').length === 2")
        assert (await events(who)).keys() == {4, 1}
        assert complaints == []
