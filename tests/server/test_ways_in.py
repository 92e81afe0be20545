"""Pictures that cameras upload by themselves: curl, forms and MJPEG, as they are sent in the field."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.frame import Codec, Frame
from agent.media import clip
from agent.media.jpeg import parse
from agent.server.app import CameraServer
from agent.server.cameras import Keys
from tests.server.conftest import Start
from tests.server.people import basic
from tests.server.pictures import jpeg, kept, settled

SCAN = parse(jpeg(1))[1]  # where the coded bytes begin
needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="NO curl: uploads by it are NOT tested")


async def curl(*args: str) -> str:
    """Run curl; its standard output, the status behind it."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "-m", "20", "-w", "%{http_code}", *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    return (await process.communicate())[0].decode()


async def stored(server: CameraServer, camera: str = "porch") -> list[tuple[bytes, int]]:
    """Each stored picture with its flags, oldest first."""
    await settled(server)
    found = sorted((e.wall_ns, data, e.flags) for e, data in kept(server.settings.store_path / "items" / camera))
    return [(data, flags) for _, data, flags in found]


async def events(server: CameraServer, http: aiohttp.ClientSession) -> list[dict[str, Any]]:
    await settled(server)
    async with http.get(server.urls()[0] + "api/v1/events") as answer:
        return list((await answer.json())["events"])


@pytest.fixture
async def keys(server: CameraServer) -> Keys:
    return await server.issue_keys("porch")


@needs_curl
async def test_what_curl_uploads_is_stored_as_it_is(server: CameraServer, keys: Keys, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{server.port}/v1/cam/porch/picture/"
    pictures = [jpeg(n) for n in range(4)]
    for n, picture in enumerate(pictures):
        (tmp_path / f"{n}.jpg").write_bytes(picture)
    login = f"{keys.login}:{keys.password}"
    assert (await curl("-u", login, "-T", str(tmp_path / "0.jpg"), url)).endswith("201")
    assert (await curl("-u", login, "--data-binary", f"@{tmp_path / '1.jpg'}", url.rstrip("/"))).endswith("201")
    form = [x for n in (2, 3) for x in ("-F", f"file{n}=@{tmp_path / f'{n}.jpg'}")]
    assert (await curl("-u", login, *form, "-F", "note=hello", url)).endswith("201")
    chunked = ("-H", "Transfer-Encoding: chunked", "-T", str(tmp_path / "0.jpg"))
    assert (await curl("-u", login, *chunked, url + "a%20%3Cb%3E.jpg")).endswith("201")
    assert [data for data, _ in await stored(server)] == [*pictures, pictures[0]]


@pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionHeader", "ignore::aiohttp.BadContentDispositionParam")
async def test_forms_may_call_their_files_what_they_like(server: CameraServer, keys: Keys) -> None:
    url = f"http://127.0.0.1:{server.port}/v1/cam/porch/picture"
    names = ('filename=";id;.jpg"', "filename=\"a'b'c", "FileName*=x'y", 'filename="' + "W" * 4000 + '"', "filename=")
    async with aiohttp.ClientSession(headers=basic(keys.login, keys.password)) as http:
        for n, name in enumerate(names):
            head = f"--B\r\nContent-Disposition: form-data; name=f; {name}\r\n\r\n".encode()
            form = {"Content-Type": "multipart/form-data; boundary=B"}
            async with http.post(url, data=head + jpeg(n) + b"\r\n--B--\r\n", headers=form) as answer:
                assert answer.status == 201, (name, await answer.text())
        head = f'--B\r\nContent-Disposition: form-data; filename="{"W" * 10000}"\r\n\r\n'.encode()
        async with http.post(url, data=head + jpeg(1), headers=form) as answer:
            assert answer.status == 400
            assert (await answer.json())["detail"] == "the form cannot be read: a line in it is too long"
    assert [data for data, _ in await stored(server)] == [jpeg(n) for n in range(len(names))]


@pytest.mark.parametrize("expect", [None, "100-continue", "the unexpected"])
async def test_who_is_turned_away_is_told_as_a_problem(server: CameraServer, keys: Keys, expect: str | None) -> None:
    """Also before the body is sent, where a client waits for our word."""
    headers = {"Expect": expect} if expect else {}
    if expect == "the unexpected":
        headers |= basic(keys.login, keys.password)
    async with aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{server.port}/v1/cam/porch/picture"
        async with http.put(url, data=jpeg(1), headers=headers) as answer:
            assert answer.content_type == "application/problem+json"
            told = await answer.json()
    assert told["status"] == answer.status == (417 if expect == "the unexpected" else 401) and told["title"]


async def test_uploads_are_an_event_that_a_pause_ends(
    server: CameraServer, keys: Keys, viewer: aiohttp.ClientSession
) -> None:
    url = f"http://127.0.0.1:{server.port}/v1/cam/porch/picture"
    auth = {"Authorization": f"Bearer {keys.token}"}
    from agent.server.camera import CameraSettings

    await server.issue_keys("porch", CameraSettings(pause_s=1.0))
    keys = await server.issue_keys("porch")
    auth = {"Authorization": f"Bearer {keys.token}"}
    for n in range(3):
        assert (await viewer.put(url, data=jpeg(n), headers=auth)).status == 201
    [event] = await events(server, viewer)
    assert (event["state"], event["frames"], event["reason"]) == ("open", 3, "upload")
    async with asyncio.timeout(60):
        while (await events(server, viewer))[0]["state"] != "closed":
            await asyncio.sleep(0.1)
    assert (await viewer.put(url, data=jpeg(9), headers=auth)).status == 201
    assert [e["frames"] for e in await events(server, viewer)] == [1, 3]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 415),
        (b"hello", 415),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), 415),
        (b"\xff\xd8\xff\xdb" + bytes(9), 415),
        (jpeg(1)[:SCAN], 415),
        (jpeg(1)[:SCAN] + b"\xff\xd9", 415),
        (jpeg(1)[: SCAN + 1], 201),
    ],
    ids=["nothing", "text", "png", "broken", "header", "header and end", "a byte of it"],
)
async def test_what_is_no_picture(server: CameraServer, keys: Keys, body: bytes, status: int) -> None:
    async with aiohttp.ClientSession(headers=basic(keys.login, keys.password)) as http:
        answer = await http.post(f"http://127.0.0.1:{server.port}/v1/cam/porch/picture", data=body)
        assert answer.status == status


@pytest.mark.parametrize("path", ["picture", "mjpeg"])
@pytest.mark.parametrize("apart", [False, True], ids=["at once", "head first"])
async def test_a_body_without_a_length_is_told_what_it_lacks(
    server: CameraServer, keys: Keys, path: str, apart: bool
) -> None:
    """Head and body in one packet are broken HTTP to the parser; a head alone is a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"POST /v1/cam/porch/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {keys.token}\r\n\r\n".encode()
    async with asyncio.timeout(20):
        if apart:
            writer.write(head)
            answer = await reader.readuntil(b"}")
        else:
            writer.write(head + jpeg(1))
            answer = await reader.read()
    writer.close()
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert b"application/problem+json" in answer and told["status"] == (411 if apart else 400)
    assert told["detail"].endswith("a body needs Content-Length, or Transfer-Encoding: chunked")
    assert answer.count(b"HTTP/1") == 1 and b"JFIF" not in answer, "nothing is said back"


async def test_a_cut_picture_is_kept_as_truncated(server: CameraServer, keys: Keys) -> None:
    whole = jpeg(1)
    async with aiohttp.ClientSession(headers=basic(keys.login, keys.password)) as http:
        for data in (whole, whole[: len(whole) // 2]):
            await http.put(f"http://127.0.0.1:{server.port}/v1/cam/porch/picture", data=data)
    assert [(len(d), bool(f & clip.TRUNCATED)) for d, f in await stored(server)] == [
        (len(whole), False),
        (len(whole) // 2, True),
    ]


async def test_an_upload_login_is_good_for_its_camera_only(server: CameraServer, keys: Keys) -> None:
    other = await server.issue_keys("yard")
    base = f"http://127.0.0.1:{server.port}"
    async with aiohttp.ClientSession(headers=basic(other.login, other.password)) as http:
        assert (await http.put(f"{base}/v1/cam/porch/picture", data=jpeg(1))).status == 404
        assert (await http.put(f"{base}/v1/cam/nowhere/picture", data=jpeg(1))).status == 404
        assert (await http.put(f"{base}/v1/cam/yard/picture", data=jpeg(1))).status == 201
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {other.token}"}) as http:
        for (method, path), route in server.routes.declared.items():
            if route.access.value not in ("open", "token"):
                path = path.replace("{camera}", "yard").split("{")[0] + ("1" if "{id" in path else "")
                async with http.request(method, base + path, json={}, allow_redirects=False) as answer:
                    assert answer.status in (401, 404, 405, 303), f"{method} {path}: {answer.status}"
                    assert answer.status != 404 or "{" in route.path.replace("{camera}", "")


async def test_a_pushed_stream_is_handled_as_it_arrives(
    server: CameraServer, keys: Keys, viewer: aiohttp.ClientSession
) -> None:
    """Live pictures come out while the request goes on; it has no end and no length."""
    base = server.urls()[0]
    going = asyncio.Event()

    async def push() -> Any:
        n = 0
        while not going.is_set():
            yield b"--x\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg(n) + b"\r\n"
            n += 1
            await asyncio.sleep(0.05)

    async with aiohttp.ClientSession(headers=basic(keys.login, keys.password)) as http:
        headers = {"Content-Type": "multipart/x-mixed-replace; boundary=x"}
        pushing = asyncio.create_task(http.post(f"{base}v1/cam/porch/mjpeg", data=push(), headers=headers))
        async with viewer.get(f"{base}api/v1/cameras/porch/live.mjpeg") as live, asyncio.timeout(60):
            seen = b""
            while seen.count(b"Content-Length") < 5:
                seen += await live.content.readany()
        async with viewer.ws_connect(f"{base}api/v1/cameras/porch/live.ws") as ws:
            picture = await ws.receive_bytes(timeout=10)
            assert picture[:2] == b"\xff\xd8" and picture[-2:] == b"\xff\xd9"
        going.set()
        answer = await pushing
        assert (await answer.json())["pictures"] >= 5


async def test_deletion_ends_a_running_push_with_410(
    server: CameraServer, keys: Keys, viewer: aiohttp.ClientSession
) -> None:
    async def push() -> Any:
        while True:
            yield jpeg(1)
            await asyncio.sleep(0.05)

    async with aiohttp.ClientSession(headers=basic(keys.login, keys.password)) as http:
        url = f"http://127.0.0.1:{server.port}/v1/cam/porch/mjpeg"
        pushing = asyncio.create_task(http.post(url, data=push()))
        async with asyncio.timeout(60):
            while True:
                async with viewer.get(server.urls()[0] + "api/v1/cameras/porch") as answer:
                    if (await answer.json())["state"] == "up":
                        break
                await asyncio.sleep(0.05)
        await server.delete_camera("porch")
        async with asyncio.timeout(60):
            assert (await pushing).status == 410
        assert (await http.put(url.replace("mjpeg", "picture"), data=jpeg(1))).status == 410
    assert not (server.settings.store_path / "items" / "porch").exists()


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"--x\r\nContent-Type: image/jpeg\r\n\r\nno picture\r\n--x--", jpeg(1)[:300]]
)
async def test_a_push_without_any_picture_is_no_success(server: CameraServer, keys: Keys, body: bytes) -> None:
    async with aiohttp.ClientSession(headers=basic(keys.login, keys.password)) as http:
        async with http.post(server.urls()[0] + "v1/cam/porch/mjpeg", data=body) as answer:
            assert (answer.status, "no whole JPEG" in await answer.text()) == (415, True)
        async with http.post(server.urls()[0] + "v1/cam/porch/mjpeg", data=b"junk" + jpeg(1)) as answer:
            assert (answer.status, await answer.json()) == (200, {"pictures": 1})


FORM = b"--B\r\nContent-Disposition: form-data; name=note\r\n\r\nhello\r\n--B--\r\n"


@pytest.mark.parametrize(
    ("path", "head", "body", "status", "says"),
    [
        ("picture", {"Content-Type": "multipart/form-data; boundary=B"}, FORM, 400, "no picture in the request"),
        ("picture", {"Content-Type": "multipart/x-mixed-replace; boundary=B"}, b"", 415, "no whole JPEG"),
        ("picture", {"Content-Encoding": "gzip"}, gzip.compress(jpeg(1)), 415, "without Content-Encoding"),
        ("mjpeg", {"Content-Encoding": "gzip"}, gzip.compress(jpeg(1)), 415, "without Content-Encoding"),
    ],
    ids=["form without a file", "push to the other address", "packed picture", "packed push"],
)
async def test_what_cannot_be_taken_is_told_why(
    server: CameraServer, keys: Keys, path: str, head: dict[str, str], body: bytes, status: int, says: str
) -> None:
    async with aiohttp.ClientSession(headers=basic(keys.login, keys.password) | head) as http:
        answer = await http.post(server.urls()[0] + f"v1/cam/porch/{path}", data=body)
        told = await answer.json(content_type="application/problem+json")
    assert answer.status == told["status"] == status and says in told["detail"]


async def test_a_push_that_we_end_is_not_blamed_for_having_no_picture(server: CameraServer, keys: Keys) -> None:
    async def push() -> Any:
        while True:
            yield b"not yet"
            await asyncio.sleep(0.02)

    async with aiohttp.ClientSession(headers=basic(keys.login, keys.password)) as http:
        pushing = asyncio.create_task(http.post(server.urls()[0] + "v1/cam/porch/mjpeg", data=push()))
        async with asyncio.timeout(60):
            while not server._cameras.all()[0].sessions:
                await asyncio.sleep(0.02)
            await server.issue_keys("porch")
            assert (await pushing).status == 200


async def test_motion_in_a_pushed_stream_becomes_an_event(start: Start, http: aiohttp.ClientSession) -> None:
    import cv2
    import numpy as np

    def picture(n: int) -> bytes:
        image = np.full((240, 320, 3), 90, np.uint8)
        if n > 40:
            cv2.rectangle(image, ((n - 40) * 12 % 260, 80), ((n - 40) * 12 % 260 + 60, 180), (230, 230, 230), -1)
        return cv2.imencode(".jpg", image)[1].tobytes()

    server = await start(notes={})
    keys = await server.issue_keys("porch")
    await http.get(server.urls()[0].rstrip("/") + server.join_link())

    async def push() -> Any:
        for n in range(90):
            yield b"--x\r\nContent-Type: image/jpeg\r\n\r\n" + picture(n) + b"\r\n"
            await asyncio.sleep(0.07)

    headers = {"Authorization": f"Bearer {keys.token}"}
    answer = await http.post(server.urls()[0] + "v1/cam/porch/mjpeg", data=push(), headers=headers)
    assert answer.status == 200, await answer.text()
    [event] = await events(server, http)
    assert (event["reason"], event["state"]) == ("motion", "closed") and event["frames"] > 20


async def test_a_fast_camera_is_shown_ten_times_a_second_and_never_out_of_order(
    server: CameraServer, keys: Keys, viewer: aiohttp.ClientSession
) -> None:
    camera = server._cameras.get("porch")
    assert camera is not None
    seen: list[int] = []
    begin = time.monotonic()
    async with viewer.ws_connect(server.urls()[0] + "api/v1/cameras/porch/live.ws") as ws:
        for n in range(100):
            camera.publish(Frame(Codec.JPEG, b"\xff\xd8" + bytes((n,)), True, time.monotonic_ns(), time.time_ns(), n))
            await asyncio.sleep(0.02)
            while True:
                try:
                    seen.append((await ws.receive_bytes(timeout=0.001))[2])
                except TimeoutError:
                    break
    assert 3 <= len(seen) <= (time.monotonic() - begin) * 10.6 + 3 and seen == sorted(set(seen))


async def test_a_camera_that_floods_is_told_to_wait(server: CameraServer, keys: Keys) -> None:
    url = f"http://127.0.0.1:{server.port}/v1/cam/porch/picture"
    async with aiohttp.ClientSession(headers=basic(keys.login, keys.password)) as http:
        pictures = server._desk.of(server._cameras.get("porch"))  # type: ignore[arg-type]
        while pictures.allowed():
            pass
        answer = await http.put(url, data=jpeg(1))
        assert answer.status == 429 and answer.headers["Retry-After"] == "1"
