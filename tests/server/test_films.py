"""H.264 from a camera's RTSP to the screen: live and as an event, in Chromium, with the pixels that the camera saw."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Page

from agent.app import Agent, AgentConfig, CameraConfig
from agent.frame import Codec, Frame
from agent.media import h264, jpeg
from agent.motion import MotionSettings
from agent.recorder import EventSettings
from agent.server.app import CameraServer
from agent.sinks.websocket import WebSocketSink
from agent.sources.rtsp import RtspSource
from tests.fakes.rtsp import RtspCamera
from tests.server.conftest import Start
from tests.server.people import owner, person
from tests.server.pictures import frame
from tests.server.test_page import CHROMIUM, chromium, enter, page, until  # noqa: F401
from tests.videos import av, film, places, units

PLACE = """(selector) => {
  const video = document.querySelector(selector), canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  const brush = canvas.getContext("2d");
  brush.drawImage(video, 0, 0);
  const row = brush.getImageData(0, Math.floor(canvas.height / 3) + 20, canvas.width, 1).data;
  for (let x = 0; x < canvas.width; x++) if (row[4 * x] > 150) return x;
  return -1;
}"""
LATE = """() => {
  const video = document.querySelector(".camera video");
  return video.buffered.end(video.buffered.length - 1) - video.currentTime;
}"""
needs_browser = pytest.mark.skipif(
    not CHROMIUM.exists(), reason=f"NO BROWSER at {CHROMIUM}: films are NOT tested in it"
)


@pytest.fixture
async def camera(tmp_path: Path) -> AsyncIterator[RtspCamera]:
    """Four seconds of nothing, then three of something, again and again; a keyframe each two seconds."""
    clip = units(film(tmp_path / "a.mp4", 75, still=100, gop=50, size=(320, 240)))
    async with RtspCamera(clip, 25, lambda n: n * 3600) as camera:
        yield camera


@contextlib.asynccontextmanager
async def watched(server: CameraServer, camera: RtspCamera, token: str = "") -> AsyncIterator[Agent]:
    """The agent as it runs, with the server's WebSocket uplink."""
    token = token or await server.issue_token("gate")
    sink = WebSocketSink(url=f"ws://127.0.0.1:{server.port}", token=token)
    settings = EventSettings(pre_roll_s=1.0, post_roll_s=1.0, merge_gap_s=1.0)
    agent = Agent(AgentConfig((CameraConfig("gate", RtspSource(camera.url), MotionSettings(), settings),), (sink,)))
    ending = asyncio.Event()
    run = asyncio.create_task(agent.run(ending))
    try:
        yield agent
    finally:
        ending.set()
        await asyncio.wait_for(run, 20)
        await agent.close()


async def closed_event(http: aiohttp.ClientSession, base: str, number: int = 1) -> dict[str, Any]:
    """The first event that has ended, with its items."""
    async with asyncio.timeout(60):
        while True:
            for event in (await (await http.get(base + "/api/v1/events")).json())["events"]:
                if event["state"] == "closed" and event["number"] == number:
                    answer: dict[str, Any] = await (await http.get(f"{base}/api/v1/events/{event['id']}")).json()
                    return answer
            await asyncio.sleep(0.2)


async def test_an_event_is_stored_as_the_camera_sent_it_and_is_a_film(
    server: CameraServer, viewer: aiohttp.ClientSession, camera: RtspCamera
) -> None:
    base = server.urls()[0].rstrip("/")
    async with watched(server, camera):
        event = await closed_event(viewer, base)
    sent = {b"".join(h264.split(u.data)) for u in camera.units}
    stored: list[tuple[int, bytes]] = []
    seqs = {i["seq"] for i in event["items"]}
    for item in event["items"]:
        assert item["codec"] == "h264" and item["group"] in seqs
        frames = (await (await viewer.get(base + item["url"] + "/frames")).json())["frames"]
        payload = await (await viewer.get(base + item["url"])).read()
        stored += [(f["index"], payload[f["start"] : f["start"] + f["bytes"]]) for f in frames]
    assert event["items"][0]["keyframe"] and any(not i["keyframe"] for i in event["items"])
    assert [n for n, _ in stored] == list(range(stored[0][0], stored[0][0] + len(stored)))
    assert all(b"".join(h264.split(data)) in sent for _, data in stored)

    url = f"{base}/api/v1/events/{event['id']}/event.mp4"
    async with viewer.get(url.replace(".mp4", ".avi")) as answer:
        assert answer.status == 404 and "event.mp4" in await answer.text()
    answer = await viewer.get(url)
    whole = await answer.read()
    assert answer.content_type == "video/mp4" and len(whole) == answer.content_length
    with av.open(io.BytesIO(whole)) as source:
        played = [h264.split(h264.to_annexb(bytes(p))) for p in source.demux(video=0) if p.size]
    assert played == [h264.split(data) for _, data in stored]
    with av.open(io.BytesIO(whole)) as source:
        seen = places([f.to_ndarray(format="gray") for f in source.decode(video=0)])
    assert len(set(seen)) > 20 and len(seen) == len(stored)

    for start, stop in ((0, 100), (500, len(whole) - 7), (len(whole) - 10, len(whole))):
        part = await viewer.get(url, headers={"Range": f"bytes={start}-{stop - 1}"})
        assert part.status == 206 and await part.read() == whole[start:stop]
    assert (await viewer.get(url, headers={"If-None-Match": answer.headers["ETag"]})).status == 304
    still = await (await viewer.get(base + event["thumb"])).read()
    assert jpeg.complete(still) and b"derived from h264" in still


async def test_live_is_endless_fragmented_mp4(
    server: CameraServer, viewer: aiohttp.ClientSession, camera: RtspCamera
) -> None:
    base = server.urls()[0].rstrip("/")
    async with watched(server, camera):
        answer = await viewer.get(f"{base}/api/v1/cameras/gate/live.mp4")
        assert answer.status == 200 and answer.headers["Content-Type"].startswith('video/mp4; codecs="avc1.')
        data = bytearray()
        async with asyncio.timeout(60):
            while data.count(b"moof") < 60:
                data += await answer.content.readany()
        answer.close()
        assert (await viewer.get(f"{base}/api/v1/cameras/none/live.mp4")).status == 404
        for way in ("live.mjpeg", "live.ws", "latest.jpg"):
            async with viewer.get(f"{base}/api/v1/cameras/gate/{way}") as instead:
                assert instead.status == 404 and "see live.mp4" in await instead.text()
    sent = [h264.split(u.data) for u in camera.units]
    with av.open(io.BytesIO(bytes(data[: data.rfind(b"moof") - 4]))) as source:
        played = [h264.split(h264.to_annexb(bytes(p))) for p in source.demux(video=0) if p.size]
    at = sent.index(played[0])
    assert played == [sent[(at + n) % len(sent)] for n in range(len(played))], "from a keyframe on, none left out"


async def test_a_share_link_plays_the_film(start: Start, camera: RtspCamera) -> None:
    server = await start()
    async with owner(server) as anna, person(server) as anybody:
        made = await anna.add("gate")
        async with watched(server, camera, made["token"]), asyncio.timeout(60):
            while not (found := (await anna.ask("GET", "/api/v1/events"))["events"]) or found[-1]["state"] != "closed":
                await asyncio.sleep(0.2)
        share = await anna.ask("POST", "/api/v1/shares", 201, json={"event": found[-1]["id"]})
        async with anybody.http.get(share["url"]) as shown:
            assert "/film.mp4" in await shown.text()
        async with anybody.http.get(share["url"] + "/film.mp4") as answer:
            assert answer.status == 200 and answer.headers["Cache-Control"] == "no-store"
            with av.open(io.BytesIO(await answer.read())) as source:
                assert sum(1 for _ in source.decode(video=0)) == found[-1]["frames"]
        await anna.ask("DELETE", f"/api/v1/shares/{share['id']}", 204)
        async with anybody.http.get(share["url"] + "/film.mp4") as answer:
            assert answer.status == 404


@needs_browser
async def test_a_share_link_to_a_camera_shows_its_film_live(start: Start, camera: RtspCamera) -> None:
    server = await start()
    async with owner(server) as anna, person(server) as anybody:
        made = await anna.add("gate")
        share = await anna.ask("POST", "/api/v1/shares", 201, json={"camera": "gate"})
        async with watched(server, camera, made["token"]), chromium() as page:
            await page.goto(share["url"], wait_until="domcontentloaded")
            playing = "document.querySelector('video')?.currentTime > 1 && document.querySelector('video')?.videoWidth"
            await until(page, playing)
            assert await page.evaluate(playing) == 320
            assert not await page.locator("img.film").count() and await page.locator("video").is_visible()
        answer = await anybody.http.get(share["url"] + "/film.mp4")
        assert answer.headers["Cache-Control"] == "no-store"
        await anna.ask("DELETE", f"/api/v1/shares/{share['id']}", 204)
        with pytest.raises(aiohttp.ClientPayloadError):
            async with asyncio.timeout(20):
                await answer.read()


@needs_browser
async def test_a_share_link_to_a_jpeg_camera_shows_its_pictures(start: Start) -> None:
    server = await start()
    async with owner(server) as anna, chromium() as page:  # noqa: F811
        await anna.add("porch")
        share = await anna.ask("POST", "/api/v1/shares", 201, json={"camera": "porch"})
        await page.goto(share["url"], wait_until="domcontentloaded")
        camera = server._cameras.get("porch")
        assert camera is not None
        async with asyncio.timeout(20):
            while not await page.evaluate("document.querySelector('img.film')?.naturalWidth"):
                camera.publish(frame(0))
                await asyncio.sleep(0.1)
        assert await page.locator("img.film").is_visible() and not await page.locator("video").is_visible()


async def test_a_jpeg_camera_and_a_jpeg_event_have_no_film(server: CameraServer, viewer: aiohttp.ClientSession) -> None:
    await server.add_camera("porch")
    camera = server._cameras.get("porch")
    assert camera is not None
    base = server.urls()[0].rstrip("/")
    asked = asyncio.create_task(viewer.get(f"{base}/api/v1/cameras/porch/live.mp4"))
    async with asyncio.timeout(60):
        while not camera.hub.readers:
            await asyncio.sleep(0.01)
    camera.publish(Frame(Codec.JPEG, b"\xff\xd8\xff\xd9", True, 1, 1, 0))
    answer = await asked
    assert answer.status == 404 and "live.mjpeg" in await answer.text()


@needs_browser
async def test_live_and_events_are_seen_in_chromium(
    server: CameraServer,
    page: Page,  # noqa: F811
    camera: RtspCamera,
    viewer: aiohttp.ClientSession,
) -> None:
    base = server.urls()[0].rstrip("/")
    complaints = await enter(page, server)
    async with watched(server, camera):
        await until(page, "cameraAgent.films.gate?.presentedFrames > 10")
        film_now = await page.evaluate("cameraAgent.films.gate")
        assert (film_now["width"], film_now["height"]) == (320, 240)
        found = set()
        async with asyncio.timeout(60):
            while len(found) < 5:
                found.add(await page.evaluate(PLACE, ".camera video"))
                await asyncio.sleep(0.2)
        assert all(-1 < x < 300 for x in found), found
        await until(page, "document.querySelector('.camera .pill')?.textContent.startsWith('live')")
        late = await page.evaluate(LATE)
        assert late < 3
        event = await closed_event(viewer, base)
    await page.locator(".event").last.click()
    await until(page, "document.getElementById('film').currentTime > 0.5")
    assert await page.evaluate("document.getElementById('film').videoWidth") == 320
    duration = await page.evaluate("document.getElementById('film').duration")
    assert duration == pytest.approx(event["frames"] / 25, abs=0.2)
    await page.evaluate(
        "() => { const v = document.getElementById('film'); v.pause(); v.currentTime = v.duration - 1.2 }"
    )
    await until(page, "!document.getElementById('film').seeking")
    assert -1 < await page.evaluate(PLACE, "#film") < 300
    async with page.expect_download() as saving:
        await page.get_by_text("Save as MP4").click()
    saved = Path(await (await saving.value).path()).read_bytes()
    assert saved == await (await viewer.get(f"{base}/api/v1/events/{event['id']}/event.mp4")).read()
    assert complaints == []
