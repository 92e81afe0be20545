"""The way in for agents, held to docs/protocol.md over a real socket."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import WSMsgType

from agent.frame import Codec, Frame, ItemType
from agent.hub import Hub
from agent.media import clip, wire
from agent.outbox import MemoryOutbox
from agent.server.app import CameraServer
from agent.sinks import Feed
from agent.sinks.websocket import WebSocketSink
from tests.server.agents import Uplinks
from tests.server.conftest import Start
from tests.server.pictures import frame, item, jpeg


async def refusal(connect: Uplinks, server: CameraServer, camera: str, token: str, **more: str) -> int:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await connect(server, camera, token, **more)
    return refused.value.status


async def test_refusals_come_before_the_handshake(server: CameraServer, connect: Uplinks) -> None:
    token = await server.issue_token("porch")
    other = await server.issue_token("garden")
    assert await refusal(connect, server, "porch", "wrong") == 401
    assert await refusal(connect, server, "porch", "") == 401
    assert await refusal(connect, server, "porch", other) == 404
    assert await refusal(connect, server, "cellar", token) == 404
    assert await refusal(connect, server, "cellar", "wrong") == 401, "as at a camera that is there"
    assert await refusal(connect, server, "porch", token, protocol="camera-agent.v9") == 426
    await server.delete_camera("porch")
    assert await refusal(connect, server, "porch", token) == 410
    assert await refusal(connect, server, "porch", "wrong") == 401


async def test_a_camera_of_this_process_takes_no_upload(server: CameraServer, connect: Uplinks) -> None:
    await server.add_camera("porch")
    assert await refusal(connect, server, "porch", "") == 401


async def test_an_acknowledged_item_is_in_the_store(server: CameraServer, connect: Uplinks) -> None:
    up = await connect(server, "porch", await server.issue_token("porch"))
    assert await up.hello() == {"t": "welcome", "ack": 0, "have": [], "window": 4194304}
    payload = clip.pack((frame(0), frame(1)))
    await up.put(item("porch", up.spool, 1, payload, ItemType.CLIP))
    assert await up.control("ack") == {"t": "ack", "spool": up.spool, "ack": 1, "have": []}
    stored = server.settings.store_path / "items" / "porch" / up.spool / "0" / "1.clip"
    assert stored.read_bytes() == payload


async def test_who_sends_more_than_the_window_is_only_slowed_down(
    server: CameraServer, connect: Uplinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each item here waits until the one before is stored, as one that is larger than the window does."""
    monkeypatch.setattr("agent.server.ingest.websocket.WINDOW_BYTES", 100)
    up = await connect(server, "porch", await server.issue_token("porch"))
    await up.hello()
    for seq in range(1, 41):
        await up.put(item("porch", up.spool, seq, jpeg(seq)))
    assert (await up.acked(40))["ack"] == 40


async def test_after_a_cut_the_welcome_names_what_is_there(server: CameraServer, connect: Uplinks) -> None:
    token = await server.issue_token("porch")
    up = await connect(server, "porch", token)
    await up.hello()
    for seq in (1, 2, 4, 5):
        await up.put(item("porch", up.spool, seq, jpeg(seq)))
    while (await up.control("ack"))["have"] != [[4, 5]]:
        pass
    await up.cut()
    again = await connect(server, "porch", token, up.spool)
    assert await again.hello() == {"t": "welcome", "ack": 2, "have": [[4, 5]], "window": 4194304}
    other = await connect(server, "porch", token)
    assert (await other.hello())["ack"] == 0, "another spool counts for itself"


async def test_an_item_that_is_cut_in_the_middle_is_not_there(server: CameraServer, connect: Uplinks) -> None:
    token = await server.issue_token("porch")
    up = await connect(server, "porch", token)
    await up.hello()
    parts = wire.pack_item(item("porch", up.spool, 1, b"\xff\xd8" + secrets.token_bytes(600_000)))
    assert len(parts) == 3
    for part in parts[:2]:
        await up.ws.send_bytes(part)
    await up.send({"t": "dropped", "spool": up.spool, "first": 9, "last": 9, "why": "quota"})
    await up.control("ack")
    await up.cut()
    again = await connect(server, "porch", token, up.spool)
    assert await again.hello() == {"t": "welcome", "ack": 0, "have": [[9, 9]], "window": 4194304}
    for part in parts:
        await again.ws.send_bytes(part)
    assert (await again.control("ack"))["ack"] == 1


async def test_a_repeat_is_acknowledged_and_stored_once(server: CameraServer, connect: Uplinks) -> None:
    up = await connect(server, "porch", await server.issue_token("porch"))
    await up.hello()
    same = item("porch", up.spool, 1, jpeg(1))
    await up.put(same)
    await up.acked(1)
    await up.put(same)
    assert (await up.control("ack"))["ack"] == 1
    assert server._archive is not None and server._archive.stored == 1
    await up.put(item("porch", up.spool, 1, jpeg(2)))
    assert await up.control("nack") == {"t": "nack", "seq": 1, "code": "conflict"}
    stored = server.settings.store_path / "items" / "porch" / up.spool / "0" / "1.jpg"
    assert stored.read_bytes() == same.payload, "the first one stays"


async def test_declared_losses_close_the_hole(server: CameraServer, connect: Uplinks) -> None:
    up = await connect(server, "porch", await server.issue_token("porch"))
    await up.hello()
    await up.put(item("porch", up.spool, 4, jpeg(4)))
    assert (await up.control("ack"))["have"] == [[4, 4]]
    await up.send({"t": "dropped", "spool": up.spool, "first": 1, "last": 3, "why": "quota"})
    assert (await up.acked(4))["have"] == []


@pytest.mark.parametrize(
    ("type_", "payload"),
    [
        (ItemType.STILL, b"<html>not a picture</html>"),
        (ItemType.CLIP, b""),
        (ItemType.CLIP, clip.pack((Frame(Codec.JPEG, b"GIF89a", True, 0, 0, 0),))),
        (ItemType.EVENT, b"[]"),
        (ItemType.EVENT, b"[" * 60_000),
    ],
)
async def test_what_is_not_what_it_says_is_refused_and_the_next_is_taken(
    server: CameraServer, connect: Uplinks, type_: ItemType, payload: bytes
) -> None:
    up = await connect(server, "porch", await server.issue_token("porch"))
    await up.hello()
    await up.put(item("porch", up.spool, 1, payload, type_))
    assert await up.control("nack") == {"t": "nack", "seq": 1, "code": "type"}
    await up.put(item("porch", up.spool, 2, jpeg(2)))
    await up.acked(2)
    assert len(list((server.settings.store_path / "items").rglob("*.*"))) == 1


async def test_bytes_that_do_not_match_their_digest_are_refused(server: CameraServer, connect: Uplinks) -> None:
    up = await connect(server, "porch", await server.issue_token("porch"))
    await up.hello()
    message = bytearray(wire.pack_item(item("porch", up.spool, 1, jpeg(1)))[0])
    message[-3] ^= 1
    await up.ws.send_bytes(bytes(message))
    assert await up.control("nack") == {"t": "nack", "seq": 1, "code": "digest"}
    await up.put(item("porch", up.spool, 1, jpeg(1)))
    await up.acked(1)


def _part(seq: int = 1, **change: int) -> bytes:
    head = {"version": 1, "kind": wire.ITEM, "what": 1, "offset": 72, "at": 0, "total": 4} | change
    return (
        wire.HEAD.pack(
            head["version"], head["kind"], head["what"], 0, head["offset"], 0, seq, 0, 0, 0, head["at"], head["total"]
        )
        + hashlib.sha256(b"\xff\xd8\xff\xd9").digest()
        + b"\xff\xd8\xff\xd9"
    )


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x01\x02",
        secrets.token_bytes(3000),
        _part(version=2),
        _part(kind=7),
        _part(what=9),
        _part(offset=9),
        _part(offset=60_000),
        _part(at=5),
        _part(total=2),
    ],
)
async def test_garbage_ends_the_session_as_malformed_and_nothing_else(
    server: CameraServer, connect: Uplinks, message: bytes
) -> None:
    token = await server.issue_token("porch")
    up, neighbour = await connect(server, "porch", token), await connect(server, "porch", token)
    await up.hello()
    await neighbour.hello()
    await up.ws.send_bytes(message)
    assert await up.closed() == 1002
    await neighbour.put(item("porch", neighbour.spool, 1, jpeg(1)))
    await neighbour.acked(1)


@pytest.mark.parametrize("text", ["", "no json", "[]", "null", "[" * 60_000, '"' + "x" * 65_536 + '"'])
async def test_text_that_is_no_control_message_is_malformed(server: CameraServer, connect: Uplinks, text: str) -> None:
    token = await server.issue_token("porch")
    first = await connect(server, "porch", token)
    await first.ws.send_str(text)
    assert await first.closed() == 1002
    later = await connect(server, "porch", token)
    await later.hello()
    await later.ws.send_str(text)
    assert await later.closed() == 1002


@pytest.mark.parametrize("spool", ["", "9f0c", "../../../../etc/x", "9F0C9F0C9F0C9F0C", None, 7])
async def test_a_hello_needs_a_spool(server: CameraServer, connect: Uplinks, spool: object) -> None:
    up = await connect(server, "porch", await server.issue_token("porch"))
    await up.send({"t": "hello", "spool": spool})
    assert await up.closed() == 1002


async def test_unknown_words_are_ignored(server: CameraServer, connect: Uplinks) -> None:
    up = await connect(server, "porch", await server.issue_token("porch"))
    await up.hello()
    await up.send({"t": "weather", "rain": True})
    await up.send({"t": "dropped", "spool": "0" * 16, "first": 1, "last": 5})
    await up.put(item("porch", up.spool, 1, jpeg(1)))
    assert (await up.control("ack"))["have"] == []


async def test_a_message_over_the_limit_ends_the_session(server: CameraServer, connect: Uplinks) -> None:
    up = await connect(server, "porch", await server.issue_token("porch"))
    await up.hello()
    await up.ws.send_bytes(bytes(wire.MAX_MESSAGE_BYTES + 1))
    assert await up.closed() == 1009


async def test_an_item_over_the_limit_is_refused_before_it_comes(server: CameraServer, connect: Uplinks) -> None:
    up = await connect(server, "porch", await server.issue_token("porch"))
    await up.hello()
    await up.ws.send_bytes(_part(seq=1, total=wire.MAX_ITEM_BYTES + 1))
    assert await up.control("nack") == {"t": "nack", "seq": 1, "code": "size"}


async def test_another_token_and_deletion_end_the_session(server: CameraServer, connect: Uplinks) -> None:
    up = await connect(server, "porch", await server.issue_token("porch"))
    await up.hello()
    token = await server.issue_token("porch")
    assert await up.closed() == 4401
    up = await connect(server, "porch", token)
    await up.hello()
    await server.delete_camera("porch")
    assert await up.closed() == 4410


async def test_a_newer_session_of_the_spool_replaces_the_older(server: CameraServer, connect: Uplinks) -> None:
    token = await server.issue_token("porch")
    old = await connect(server, "porch", token)
    await old.hello()
    new = await connect(server, "porch", token, old.spool)
    await new.hello()
    assert await old.closed() == 4408
    await new.put(item("porch", new.spool, 1, jpeg(1)))
    await new.acked(1)


async def test_an_upload_in_flight_while_its_camera_is_deleted_leaves_nothing(
    server: CameraServer, connect: Uplinks
) -> None:
    up = await connect(server, "porch", await server.issue_token("porch"))
    await up.hello()

    async def send() -> None:
        for seq in range(1, 200):
            await up.put(item("porch", up.spool, seq, jpeg(seq % 7)))

    sending = asyncio.create_task(send())
    await up.acked(1)
    await server.delete_camera("porch")
    assert await up.closed() == 4410
    await asyncio.gather(sending, return_exceptions=True)
    await server.close()
    assert not list((server.settings.store_path / "items").iterdir())
    assert b"porch" not in b"".join(p.read_bytes() for p in server.settings.store_path.glob("index.db"))


async def test_what_was_acknowledged_is_known_after_a_restart(start: Start, connect: Uplinks) -> None:
    server = await start(notes={}, durable=True)
    token = await server.issue_token("porch")
    up = await connect(server, "porch", token)
    await up.hello()
    await up.put(item("porch", up.spool, 1, jpeg(1)))
    await up.acked(1)
    await server.close()
    server = await start(notes={}, durable=True)
    again = await connect(server, "porch", token, up.spool)
    assert (await again.hello())["ack"] == 1


async def test_live_frames_are_asked_for_only_while_somebody_looks(
    server: CameraServer, viewer: aiohttp.ClientSession, connect: Uplinks
) -> None:
    up = await connect(server, "porch", await server.issue_token("porch"))
    await up.hello()
    await up.send({"t": "dropped", "spool": up.spool, "first": 1, "last": 1})
    message = await up.ws.receive(60)
    assert json.loads(message.data)["t"] == "ack", "nobody looks: nothing is asked for"
    origin = server.urls()[0].rstrip("/")
    async with viewer.ws_connect(f"{origin}/api/v1/cameras/porch/live", headers={"Origin": origin}) as look:
        await look.send_json({"t": "live", "n": 1})
        assert await up.control("live") == {"t": "live", "n": 2}
        picture = frame(7)
        await up.ws.send_bytes(wire.pack_live(picture))
        got = await look.receive(60)
        assert got.type is WSMsgType.BINARY
        message = wire.unpack(got.data)
        assert isinstance(message, wire.LiveMessage)
        assert (message.index, message.wall_ns, bytes(message.data)) == (7, picture.wall_ns, picture.data)
    while (await up.control("live"))["n"] != 0:
        pass


async def test_a_live_picture_that_is_too_large_is_told_of_once_and_the_next_comes(
    server: CameraServer, viewer: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    hub, up = Hub(), asyncio.Event()
    sink = WebSocketSink(url=f"ws://127.0.0.1:{server.port}", token=await server.issue_token("porch"))
    agent = asyncio.create_task(sink.run(Feed("porch", MemoryOutbox("porch"), hub, up.set)))
    await asyncio.wait_for(up.wait(), 60)
    origin = server.urls()[0].rstrip("/")
    async with viewer.ws_connect(f"{origin}/api/v1/cameras/porch/live", headers={"Origin": origin}) as look:
        await look.send_json({"t": "live", "n": 1})
        async with asyncio.timeout(60):
            while not hub.readers:
                await asyncio.sleep(0.01)
        for size in (wire.MAX_LIVE_BYTES + 1, wire.MAX_LIVE_BYTES + 2, 1000):
            hub.publish(replace(frame(size), data=bytes(size)))
            await asyncio.sleep(0.05)
        message = wire.unpack((await look.receive(60)).data)
        assert isinstance(message, wire.LiveMessage) and len(message.data) == 1000
    assert caplog.text.count("are too large") == 1
    agent.cancel()
    await asyncio.gather(agent, return_exceptions=True)
