"""Why and why not, from the detector through either way in to the API and the page in Chromium."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import cv2
import numpy as np
import pytest
from playwright.async_api import Page

from agent import remote
from agent.app import Analyser
from agent.armed import Armed
from agent.frame import Codec, Frame
from agent.motion import MotionSettings
from agent.pipeline import Pipeline
from agent.server.app import CameraServer
from agent.sinks import Sink
from agent.sinks.websocket import WebSocketSink
from agent.sources import Publish
from tests.server.agents import Uplinks
from tests.server.test_page import enter, until
from tests.server.test_page import page as page
from tests.server.test_page import pytestmark as pytestmark

STILL, MOVING, AFTER = 30, 40, 80


class Yard:
    """A noisy wall; again and again something dark crosses it. Ten pictures a second, by their own time."""

    label = "yard"

    async def run(self, publish: Publish) -> None:
        rng = np.random.default_rng(4)
        wall = cv2.GaussianBlur(rng.integers(60, 200, (240, 320, 3), np.uint8), (0, 0), 3)
        for n in range(100_000):
            image = cv2.add(wall, rng.integers(0, 4, wall.shape, np.uint8))
            step = n % (STILL + MOVING + AFTER) - STILL
            if 0 <= step < MOVING:
                cv2.rectangle(image, (10 + 6 * step, 100), (40 + 6 * step, 170), (10, 10, 30), -1)
            data = cv2.imencode(".jpg", image)[1].tobytes()
            publish(Frame(Codec.JPEG, data, True, n * 100_000_000, time.time_ns(), n))
            await asyncio.sleep(0.03)


@pytest.fixture(params=["uplink", "embedded"])
async def pipeline(server: CameraServer, request: pytest.FixtureRequest) -> AsyncIterator[Pipeline]:
    token = await server.issue_token("porch")
    sink: Sink = WebSocketSink(url=f"ws://127.0.0.1:{server.port}", token=token)
    if request.param == "embedded":
        sink = server.local_sink()
    pipeline = Pipeline("porch", Yard(), [sink], analyse=Analyser(MotionSettings()))
    pipeline.commands.update(remote.commands(pipeline, Armed(None)))
    pipeline.arm(False)
    running = asyncio.create_task(pipeline.run())
    yield pipeline
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_was_held_back_and_what_was_not_is_on_the_page(
    server: CameraServer,
    page: Page,
    pipeline: Pipeline,
) -> None:
    complaints = await enter(page, server)
    await page.get_by_role("button", name="Why?").click()
    await page.get_by_text("No event: the camera is disarmed").first.wait_for(timeout=60_000)
    await until(page, "document.querySelectorAll('#why-boxes rect').length === 1")
    pipeline.arm(True)
    made = page.locator("#why-list .made")
    await made.first.wait_for(timeout=60_000)
    assert "something moved" in (await made.first.inner_text())
    while pipeline.recorder.event:
        await asyncio.sleep(0.1)
    told = await page.evaluate("fetch('/api/v1/cameras/porch/why').then((r) => r.json())")
    assert told["error"] is None and told["as_of_ms"] > 0
    assert {e["reason"] for e in told["entries"]} >= {"disarmed", "motion"}
    disarmed = next(e for e in told["entries"] if e["reason"] == "disarmed")
    assert 0 < disarmed["box"][2] < 0.9 and 0.2 < disarmed["box"][1] < 0.6, "where the dark thing was"
    await until(page, "document.querySelectorAll('.event:not(.open)').length >= 1")
    await made.first.get_by_role("link", name="Play").click()
    await until(page, "document.getElementById('player').open && window.cameraAgent.shown !== undefined")
    await until(page, "document.querySelectorAll('#boxes rect').length > 0")
    await until(page, "document.querySelector('#plot polyline')?.points.length > 5")
    await page.get_by_role("button", name="Hide boxes").click()
    await until(page, "document.querySelectorAll('#boxes rect').length === 0")
    event = (await page.evaluate("fetch('/api/v1/events').then((r) => r.json())"))["events"][-1]
    course = await page.evaluate(f"fetch('/api/v1/events/{event['id']}/course').then((r) => r.json())")
    assert course["biggest"] and len(course["course"]) > 5 and all(len(s["grid"]) == 64 for s in course["trail"])
    assert complaints == []


async def asked(viewer: aiohttp.ClientSession, server: CameraServer) -> dict[str, Any]:
    async with viewer.get(f"http://127.0.0.1:{server.port}/api/v1/cameras/porch/why") as answer:
        assert answer.status == 200
        told: dict[str, Any] = await answer.json()
        return told


async def test_only_what_changed_is_asked_for_and_nonsense_is_left_out(
    server: CameraServer, viewer: aiohttp.ClientSession, connect: Uplinks
) -> None:
    assert "not connected" in (await _camera(server, viewer))["error"]
    uplink = await connect(server, "porch", await server.issue_token("porch"))
    await uplink.hello()
    good = {"id": 3, "first_ns": 10**18, "last_ns": 10**18, "count": 2, "reason": "light", "box": [0, 0, 0.5, 2],
            "evidence": 3, "wanted": 14.0, "zone": "gate", "event": 0, "score": 0}  # fmt: skip
    nonsense = [
        7,
        {"reason": "x"},
        {**good, "id": 4, "box": [1]},
        {**good, "id": 5, "last_ns": 1, "evidence": "much", "count": -1},
    ]
    await _past(server)
    asking = asyncio.create_task(asked(viewer, server))
    cmd = await uplink.control("cmd")
    assert (cmd["do"], cmd["args"]) == ("why", {"run": "", "after": 0})
    result = {"run": "a", "change": 9, "entries": [good, *nonsense]}
    await uplink.send({"t": "done", "id": cmd["id"], "ok": True, "result": result})
    entries = (await asking)["entries"]
    assert [(e["reason"], e["words"], e["count"], e["evidence"]) for e in entries] == [
        ("light", "only the light changed", 2, 3), ("light", "only the light changed", 0, 0)]  # fmt: skip
    assert entries[0]["box"] == [0, 0, 0.5, 1]
    await _past(server)
    asking = asyncio.create_task(asked(viewer, server))
    cmd = await uplink.control("cmd")
    assert cmd["args"] == {"run": "a", "after": 9}
    await uplink.send({"t": "done", "id": cmd["id"], "ok": False, "error": "no such command; one of snapshot"})
    told = await asking
    assert "no such command" in told["error"] and len(told["entries"]) == 2, "what was told before stays"
    for silent in ({}, {"error": None}, {"error": ""}, {"error": 7}):
        await _past(server)
        asking = asyncio.create_task(asked(viewer, server))
        cmd = await uplink.control("cmd")
        await uplink.send({"t": "done", "id": cmd["id"], "ok": False} | silent)
        assert (await asking)["error"] == "the agent refuses and does not say why"


async def _camera(server: CameraServer, viewer: aiohttp.ClientSession) -> dict[str, Any]:
    await server.add_camera("porch")
    return await asked(viewer, server)


async def _past(server: CameraServer) -> None:
    """As if the last question were long ago."""
    camera = server._cameras.get("porch")
    assert camera is not None
    camera.why._asked_s = 0.0
