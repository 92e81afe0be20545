"""HTTP upload, held to docs/protocol.md over real sockets."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import itertools
import os
import secrets
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.frame import ItemType
from agent.media import clip
from agent.server.app import CameraServer
from agent.server.ingest import http as ingest
from agent.server.ingest.parts import BLOCK_BYTES
from tests.server.conftest import Start
from tests.server.pictures import frame, jpeg

SPOOL = "0123456789abcdef"


def digest(payload: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(payload).digest()).decode()}:"


def big(n: int) -> bytes:
    return b"\xff\xd8" + secrets.token_bytes(n - 2)


class Client:
    """Speaks HTTP upload as docs/protocol.md has it, with nothing of the product's sink."""

    def __init__(self, http: aiohttp.ClientSession, server: CameraServer, token: str, camera: str = "porch") -> None:
        self.http, self.token = http, token
        self.root = f"http://127.0.0.1:{server.port}/v1/cam/{camera}"

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any, Any]:
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        async with self.http.request(method, self.root + path, headers=headers, **more) as r:
            body = await r.json(content_type=None) if method != "HEAD" and r.status != 204 else None
            return r.status, body, r.headers

    async def put(self, seq: int, payload: bytes, **headers: str) -> tuple[int, Any, Any]:
        own = {"Repr-Digest": digest(payload), "Item-Type": "still", "Item-Wall-Ns": "1795420800000000000"}
        return await self.ask("PUT", f"/item/{SPOOL}-{seq}", data=io.BytesIO(payload), headers=own | headers)

    async def patch(self, seq: int, whole: bytes, at: int, end: int, **headers: str) -> tuple[int, Any, Any]:
        own = {
            "Repr-Digest": digest(whole),
            "Item-Type": "still",
            "Content-Type": "application/partial-upload",
            "Upload-Length": str(len(whole)),
            "Upload-Offset": str(at),
            "Upload-Complete": "?1" if end == len(whole) else "?0",
        }
        return await self.ask("PATCH", f"/item/{SPOOL}-{seq}", data=whole[at:end], headers=own | headers)

    async def head(self, seq: int) -> tuple[int, Any]:
        status, _, headers = await self.ask("HEAD", f"/item/{SPOOL}-{seq}")
        return status, headers


@pytest.fixture
async def client(server: CameraServer, http: aiohttp.ClientSession) -> Client:
    return Client(http, server, await server.issue_token("porch"))


def stored(server: CameraServer, name: str) -> Path:
    return server.settings.store_path / "items" / "porch" / SPOOL / "0" / name


async def test_put_once_and_again(server: CameraServer, client: Client) -> None:
    payload = clip.pack((frame(0), frame(1)))
    status, body, _ = await client.put(1, payload, **{"Item-Type": "clip", "Item-Event": "3"})
    assert (status, body) == (201, {"ack": 1, "dup": False})
    assert stored(server, "1.clip").read_bytes() == payload
    status, body, _ = await client.put(1, payload, **{"Item-Type": "clip", "Item-Event": "3"})
    assert (status, body) == (200, {"ack": 1, "dup": True})
    status, body, _ = await client.put(1, jpeg(7))
    assert status == 409 and body["code"] == "conflict" and "expected-offset" not in body
    assert body["title"] == "Conflict" and body["status"] == 409, "a problem as RFC 9457 has it"
    assert stored(server, "1.clip").read_bytes() == payload, "the first one stays"


async def test_the_content_type_tells_what_it_is(client: Client) -> None:
    payload = jpeg(1)
    headers = {"Repr-Digest": digest(payload), "Content-Type": "image/jpeg"}
    assert (await client.ask("PUT", f"/item/{SPOOL}-1", data=payload, headers=headers))[0] == 201


async def test_basic_carries_the_token_too(client: Client) -> None:
    basic = base64.b64encode(f"porch:{client.token}".encode()).decode()
    assert (await client.put(1, jpeg(1), Authorization=f"Basic {basic}"))[0] == 201
    assert (await client.put(2, jpeg(1), Authorization="Basic !!"))[0] == 401


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Repr-Digest": digest(b"other")}, 400, "digest"),
        ({"Repr-Digest": "sha-256=:zzz:"}, 400, "digest"),
        ({"Repr-Digest": "md5=:AAAA:"}, 400, "digest"),
        ({"Item-Type": "film"}, 415, "type"),
        ({"Item-Type": "clip"}, 415, "type"),
        ({"Item-Event": "-1"}, 400, "header"),
        ({"Item-Event": "9" * 19}, 400, "header"),
        ({"Content-Encoding": "gzip"}, 415, "encoding"),
        ({"Upload-Length": "99"}, 400, "length"),
    ],
)
async def test_what_is_wrong_is_refused(
    server: CameraServer, client: Client, headers: dict[str, str], status: int, code: str
) -> None:
    got, body, _ = await client.put(1, jpeg(1), **headers)
    assert (got, body["code"]) == (status, code)
    assert not list(server.settings.store_path.glob("items/porch/*/*/*"))
    assert (await client.put(2, jpeg(2)))[0] == 201, "and the next one passes"


async def test_an_item_that_will_never_be_taken_counts_as_declared(client: Client) -> None:
    assert (await client.put(1, b"<html>"))[0] == 415
    assert (await client.put(2, jpeg(2)))[1] == {"ack": 2, "dup": False}


async def test_another_digest_beside_ours_is_passed_over(client: Client) -> None:
    payload = jpeg(1)
    both = "sha-512=:AAAA:, " + digest(payload)
    assert (await client.put(1, payload, **{"Repr-Digest": both}))[0] == 201


async def test_names_and_numbers(client: Client) -> None:
    for seq in ("0", "01", "9" * 19):
        status, body, _ = await client.ask(
            "PUT", f"/item/{SPOOL}-{seq}", data=jpeg(1), headers={"Repr-Digest": digest(jpeg(1))}
        )
        assert (status, body["code"]) == (400, "seq")
    for path in ("/item/x-1", f"/item/{SPOOL.upper()}-1", f"/item/{SPOOL}-1/..%2f2"):
        assert (await client.ask("PUT", path, data=b""))[0] == 404


async def test_refusals_by_token(server: CameraServer, http: aiohttp.ClientSession, client: Client) -> None:
    other = await server.issue_token("garden")
    for token, camera, status in (
        (other, "porch", 404),
        ("", "porch", 401),
        ("", "cellar", 401),
        (client.token, "cellar", 404),
    ):
        stranger = Client(http, server, token, camera)
        assert (await stranger.put(1, jpeg(1)))[0] == status
        assert (await stranger.head(1))[0] == status
        assert (await stranger.ask("GET", f"/ack?spool={SPOOL}"))[0] == status
        assert (await stranger.ask("POST", "/dropped", json={}))[0] == status
    await server.delete_camera("porch")
    assert (await client.put(1, jpeg(1)))[0] == 410


async def test_too_big_is_refused_before_it_is_read(server: CameraServer, client: Client) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"PUT /v1/cam/porch/item/{SPOOL}-1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n"
    head += f"Item-Type: still\r\nRepr-Digest: {digest(b'')}\r\nContent-Length: {10**15}\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(60):
        assert (await reader.readline()).split()[1] == b"413"
    writer.close()
    await writer.wait_closed()


async def test_a_body_without_its_length_is_refused(client: Client) -> None:
    async def chunks() -> Any:
        yield jpeg(1)

    headers = {"Repr-Digest": digest(jpeg(1)), "Item-Type": "still"}
    status, body, _ = await client.ask("PUT", f"/item/{SPOOL}-1", data=chunks(), headers=headers)
    assert (status, body["code"]) == (411, "length")


@pytest.mark.parametrize("size", [100_000, 1_500_000])
async def test_what_is_cut_off_is_not_there(server: CameraServer, client: Client, size: int) -> None:
    payload = big(size)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"PUT /v1/cam/porch/item/{SPOOL}-1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n"
    head += f"Item-Type: still\r\nRepr-Digest: {digest(payload)}\r\nContent-Length: {size}\r\n\r\n"
    writer.write(head.encode() + payload[:-1])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await client.head(1))[0] == 404
    assert (await client.put(1, payload))[0] == 201
    assert stored(server, "1.jpg").read_bytes() == payload
    while list(server.settings.store_path.glob("parts/porch/*")):
        await asyncio.sleep(0.01)


async def test_in_parts(server: CameraServer, client: Client) -> None:
    whole = big(2_500_000)
    cuts = [0, 1_000_000, 2_000_000, len(whole)]
    assert (await client.head(5))[0] == 404
    for at, end in itertools.pairwise(cuts[:-1]):
        status, _, headers = await client.patch(5, whole, at, end)
        assert (status, headers["Upload-Offset"]) == (204, str(end))
        status, headers = await client.head(5)
        assert (status, headers["Upload-Complete"], headers["Upload-Offset"]) == (200, "?0", str(end))
    status, body, _ = await client.patch(5, whole, 1_000_000, 1_500_000)
    assert (status, body["expected-offset"]) == (409, 2_000_000)
    assert (await client.patch(5, whole, 2_000_000, len(whole)))[:2] == (201, {"ack": 0, "dup": False})
    assert stored(server, "5.jpg").read_bytes() == whole
    status, headers = await client.head(5)
    assert (status, headers["Upload-Complete"], headers["Repr-Digest"]) == (200, "?1", digest(whole))
    assert (await client.patch(5, whole, 0, 1000))[1]["dup"] is True
    assert (await client.patch(5, big(3000), 0, 1000))[1]["code"] == "conflict"
    assert not list(server.settings.store_path.glob("parts/porch/*"))


async def test_a_part_that_was_cut_off_goes_on_where_it_was(server: CameraServer, client: Client) -> None:
    whole = big(900_000)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"PATCH /v1/cam/porch/item/{SPOOL}-1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n"
    head += f"Item-Type: still\r\nRepr-Digest: {digest(whole)}\r\nUpload-Length: 900000\r\nUpload-Offset: 0\r\n"
    head += "Upload-Complete: ?1\r\nContent-Length: 900000\r\n\r\n"
    writer.write(head.encode() + whole[:700_000])
    await writer.drain()
    async with asyncio.timeout(60):  # before the cut: what was not taken out of the connection by then is lost with it
        while (found := await client.head(1))[0] != 200 or int(found[1]["Upload-Offset"]) < 2 * BLOCK_BYTES:
            await asyncio.sleep(0.02)
    writer.close()
    await writer.wait_closed()
    at = int(found[1]["Upload-Offset"])
    status, body, _ = await client.patch(1, whole, at, len(whole))
    if status == 409:  # the rest of the cut part was written between the two requests
        at = body["expected-offset"]
        status, body, _ = await client.patch(1, whole, at, len(whole))
    assert (status, body) == (201, {"ack": 1, "dup": False})
    assert stored(server, "1.jpg").read_bytes() == whole


async def test_parts_of_two_contents_are_found_out_and_begun_again(client: Client) -> None:
    whole, other = big(3000), big(3000)
    await client.patch(1, other, 0, 1000)
    assert (await client.patch(1, whole, 1000, 3000))[1]["code"] == "digest"
    assert (await client.head(1))[0] == 404
    assert (await client.patch(1, whole, 0, 3000))[0] == 201


@pytest.mark.parametrize(
    ("at", "end", "headers"),
    [(0, 10, {"Upload-Complete": "?1"}), (0, 3000, {"Upload-Length": "2000"}), (0, 10, {"Upload-Complete": "yes"})],
)
async def test_parts_that_contradict_themselves(client: Client, at: int, end: int, headers: dict[str, str]) -> None:
    assert (await client.patch(1, big(3000), at, end, **headers))[0] == 400
    assert (await client.head(1))[0] == 404


async def test_unfinished_uploads_are_bounded(server: CameraServer, client: Client) -> None:
    whole = big(3000)
    for seq in range(1, 35):
        assert (await client.patch(seq, whole, 0, 10))[0] == 204
        folder = server.settings.store_path / "parts" / "porch"
        os.utime(folder / f"{SPOOL}-{seq}.part", (time.time() - 1000 + seq,) * 2)
    assert [(await client.head(seq))[0] for seq in (1, 2, 3, 34)] == [404, 404, 200, 200]
    assert (await client.patch(1, whole, 0, 3000))[0] == 201, "the one that was forgotten begins again"
    os.utime(folder / f"{SPOOL}-34.part", (1, 1))
    assert (await client.patch(90, whole, 0, 10))[0] == 204
    assert (await client.head(34))[0] == 404, "a day is over"


async def test_dropped_and_ack(client: Client) -> None:
    answer = (await client.ask("GET", f"/ack?spool={SPOOL}"))[1]
    named = {"camera_id": answer.pop("camera_id")}
    assert answer == {"ack": 0, "have": []}
    await client.put(4, jpeg(4))
    await client.put(6, jpeg(6))
    assert (await client.ask("GET", f"/ack?spool={SPOOL}"))[1] == named | {"ack": 0, "have": [[4, 4], [6, 6]]}
    gap = {"spool": SPOOL, "first": 1, "last": 3, "why": "quota"}
    for _ in range(2):
        assert (await client.ask("POST", "/dropped", json=gap))[1] == named | {"ack": 4, "have": [[6, 6]]}
    assert (await client.ask("GET", "/ack?spool=.."))[0] == 400
    for bad in ({}, [], {**gap, "first": 5}, {**gap, "first": 0}, {**gap, "last": 2**70}, {**gap, "spool": 7}):
        assert (await client.ask("POST", "/dropped", json=bad))[0] == 400
    assert (await client.ask("POST", "/dropped", data=b"[" * 4000))[0] == 400


async def test_what_was_declared_may_still_come(server: CameraServer, client: Client) -> None:
    await client.ask("POST", "/dropped", json={"spool": SPOOL, "first": 1, "last": 2, "why": "quota"})
    assert (await client.put(1, jpeg(1)))[0] == 201
    assert stored(server, "1.jpg").read_bytes() == jpeg(1)


async def test_after_retention_a_repeat_is_known_and_another_content_is_a_conflict(
    server: CameraServer, client: Client
) -> None:
    await client.put(1, jpeg(1))
    assert server._archive is not None
    assert await server._archive.delete([("porch", SPOOL, 1)]) == 1
    assert (await client.head(1))[0] == 404
    assert (await client.put(1, jpeg(1)))[:2] == (200, {"ack": 1, "dup": True})
    assert (await client.put(1, jpeg(2)))[0] == 409
    assert not stored(server, "1.jpg").exists()


async def test_a_slow_body_is_given_up_and_others_are_served(
    server: CameraServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "SILENCE_S", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"PUT /v1/cam/porch/item/{SPOOL}-1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n"
    head += f"Item-Type: still\r\nRepr-Digest: {digest(b'')}\r\nContent-Length: 500\r\n\r\n\xff\xd8"
    writer.write(head.encode("latin-1"))
    assert (await client.put(2, jpeg(2)))[0] == 201
    async with asyncio.timeout(60):
        assert (await reader.readline()).split()[1] == b"408"
    writer.close()
    await writer.wait_closed()


async def test_a_camera_has_at_most_so_many_requests_at_once(server: CameraServer, client: Client) -> None:
    writers = []
    head = f"PUT /v1/cam/porch/item/{SPOOL}-1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n"
    head += f"Item-Type: still\r\nRepr-Digest: {digest(b'')}\r\nContent-Length: 500\r\n\r\n"
    for _ in range(ingest.AT_ONCE):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head.encode())
        writers.append(writer)
    while server._uploads._running["porch"] < ingest.AT_ONCE:
        await asyncio.sleep(0.01)
    status, _, headers = await client.put(2, jpeg(2))
    assert (status, headers["Retry-After"]) == (429, "10")
    for writer in writers:
        writer.close()
        await writer.wait_closed()
    async with asyncio.timeout(60):
        while (await client.put(2, jpeg(2)))[0] == 429:
            await asyncio.sleep(0.01)


async def test_an_upload_shows_the_camera_as_there(server: CameraServer, client: Client) -> None:
    camera = server._cameras.get("porch")
    assert camera is not None and not camera.connected
    await client.put(1, jpeg(1))
    assert camera.connected
    server._presence.close()
    assert not camera.connected


async def test_unfinished_requests_of_a_killed_server_are_swept(start: Start) -> None:
    server = await start(notes={})
    folder = server.settings.store_path / "parts" / "porch"
    folder.mkdir(parents=True)
    (folder / f"{SPOOL}-1.abcd.put").write_bytes(b"x")
    (folder / f"{SPOOL}-2.part").write_bytes(b"y")
    await server.close()
    await server.start()
    assert [p.name for p in folder.iterdir()] == [f"{SPOOL}-2.part"]


def test_types_on_the_wire() -> None:
    assert ingest.TYPES["clip"] is ItemType.CLIP and ingest.TYPES["image/jpeg"] is ItemType.STILL
