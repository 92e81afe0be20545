"""The WebSocket uplink to the real camera server: what is larger than the window."""

from __future__ import annotations

import secrets
import time

import pytest

from agent.frame import ItemType
from agent.outbox import MemoryOutbox
from agent.server.app import CameraServer
from agent.sinks.uplink import WINDOW_BYTES
from agent.sinks.websocket import WebSocketSink
from tests.server.conftest import server, start
from tests.sinks.runs import running

__all__ = ["server", "start"]


@pytest.mark.parametrize("size", [WINDOW_BYTES, WINDOW_BYTES + 1, WINDOW_BYTES * 3 // 2])
async def test_an_item_larger_than_the_window_arrives_and_what_follows_it(server: CameraServer, size: int) -> None:
    """As a second of a camera that sends large pictures, and as what came while the agent was held up."""
    box = MemoryOutbox("porch")
    sent = [b"\xff\xd8" + secrets.token_bytes(n - 2) for n in (1000, size) * 4]
    for payload in sent:
        box.put(ItemType.STILL, 0, time.time_ns(), payload)
    sink = WebSocketSink(url=f"ws://127.0.0.1:{server.port}", token=await server.issue_token("porch"))
    async with running(sink, box) as run:
        await run.drained()
    folder = server.settings.store_path / "items" / "porch" / box.spool
    stored = {int(p.stem): p.read_bytes() for p in folder.rglob("*.*")}
    assert [stored[seq] for seq in sorted(stored)] == sent
