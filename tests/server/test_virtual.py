"""Virtual cameras from their first second to their last trace."""

from __future__ import annotations

import asyncio
import ftplib
import gc
import io
import json
import re
import shutil
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from click.testing import CliRunner

from agent import hosted
from agent.clock import SystemClock
from agent.commands.virtual import virtual
from agent.dispatch.listen import lan_address
from agent.server.app import ServerSettings
from agent.server.camera import CameraSettings
from tests.e2e.product import COMMAND, command
from tests.server.agents import Uplinks
from tests.server.conftest import Start
from tests.server.people import PASSWORD, Person, basic, owner, person
from tests.server.pictures import item, jpeg

NAME = "velvet-otter"


class FutureClock(SystemClock):
    """The clock of a server that is started a day later."""

    def wall_ns(self) -> int:
        return super().wall_ns() + 86_400_000_000_000


def traces(store: Path, *needles: str) -> Iterator[str]:
    """Where in the store's names and bytes one of the words stands."""
    for path in store.rglob("*"):
        text = str(path.relative_to(store)).encode() + (path.read_bytes() if path.is_file() else b"")
        for needle in needles:
            if needle.encode() in text:
                yield f"{needle} in {path}"


async def test_everything_to_paste_works_as_it_stands(start: Start, connect: Uplinks) -> None:
    server = await start(ftp_port=0)
    async with owner(server) as who:
        made = await who.add("porch", ends_s=3600)
        assert made["ftp"]["user"] == made["login"] and set(made["lines"]) == {"agent", "pair", "curl", "ffmpeg", "ftp"}
        async with aiohttp.ClientSession(headers=basic(made["login"], made["password"])) as http:
            assert (await http.put(made["upload_url"] + "a.jpg", data=jpeg(1))).status == 201
        uplink = await connect(server, "porch", made["token"])
        assert (await uplink.hello())["ack"] == 0
        async with person(server) as anybody:
            async with anybody.http.get(made["view_url"]) as page:
                assert page.status == 200 and "porch" in await page.text()
            paired = await anybody.ask("POST", "/v1/pair", json={"code": made["pairing"]})
            await anybody.ask("POST", "/v1/pair", 410, json={"code": made["pairing"]})
        assert await uplink.closed() == 4401  # the pairing gave the agent a token of its own
        uplink = await connect(server, "porch", paired["token"])
        await who.ask("POST", "/api/v1/cameras", 409, json={"name": "porch"})
        late = await who.ask("POST", "/api/v1/cameras", 400, json={"name": "yard", "ends_ms": 1})
        assert late["detail"] == "ends_ms has passed", "its keys would open nothing"


async def test_each_paired_camera_gets_a_file_of_its_own(start: Start, tmp_path: Path) -> None:
    """As `token_file` of an agent with several cameras names them; a camera's name leads nowhere else."""
    server = await start()
    base, files = server.urls()[0].rstrip("/"), tmp_path / "tokens"
    files.mkdir()
    async with owner(server) as who:
        for name in ("porch", "yard"):
            code = (await who.add(name))["pairing"]
            said = await command("pair", f"{code}@{base}", "--token-file", str(files / "{camera}.token"))
            assert said.process.returncode == 0 and str(files / f"{name}.token") in said.text()
            assert f"token_file: {files}/{{camera}}.token" in said.text()
            used = await command("pair", f"{code}@{base}", "--token-file", str(files / "{camera}.token"))
            assert used.process.returncode == 77 and "this code is used up" in used.text()
    assert {p.name for p in files.iterdir()} == {"porch.token", "yard.token"}
    for name in ("porch", "yard"):
        assert await server._cameras.check(name, (files / f"{name}.token").read_text().strip()) == 200

    async def answers(request: web.Request) -> web.Response:
        return web.json_response({"name": "../out", "token": "x"})

    app = web.Application()
    app.router.add_post("/v1/pair", answers)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    said = await command(
        "pair", f"x@http://127.0.0.1:{runner.addresses[0][1]}", "--token-file", str(files / "{camera}.token")
    )
    assert said.process.returncode == 69 and "something else than a camera's token" in said.text()
    assert len(list(files.iterdir())) == 2 and not (tmp_path / "out.token").exists()
    await runner.cleanup()


async def test_addresses_of_version_six_are_written_with_brackets(tmp_path: Path) -> None:
    settings = ServerSettings(host="::1", store=str(tmp_path / "store"), ftp=True)
    async with hosted.opened(settings, make=True) as store:
        made = await store.add("porch", CameraSettings())
    assert len(made["lines"]) == 5
    assert all("[::1]:8088" in text for text in (*made["lines"].values(), made["view_url"], made["upload_url"]))


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::"])
async def test_who_listens_everywhere_is_reached_by_an_address(tmp_path: Path, host: str) -> None:
    async with hosted.opened(ServerSettings(host=host, store=str(tmp_path / "store")), make=True) as store:
        assert urlsplit(store.base()).hostname == (lan_address(host) or socket.gethostname())


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::"])
async def test_the_addresses_that_are_said_are_answered(start: Start, http: aiohttp.ClientSession, host: str) -> None:
    if lan_address(host) is None:
        pytest.skip("NO private address of this kind here: what others use is NOT tested")
    server = await start(host=host, notes={})
    near, far = server.urls()
    for url in (near, far):
        async with http.get(url + "health") as answer:
            assert answer.status == 200, url
    assert urlsplit(far).hostname == lan_address(host) != urlsplit(near).hostname


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_what_is_made_on_the_server_s_own_machine_works_on_another(start: Start, host: str) -> None:
    if (address := lan_address(host)) is None:
        pytest.skip("NO private address of this kind here: what others use is NOT tested")
    server = await start(host=host, ftp=True)
    far = f"http://{f'[{address}]' if ':' in address else address}:{server.port}/"
    async with owner(server) as anna:
        anna.base = server.urls()[0].rstrip("/")
        await anna.ask("POST", "/login", data={"user": "owner", "password": PASSWORD})
        made = await anna.add("porch")
        shared = await anna.ask("POST", "/api/v1/shares", 201, json={"camera": "porch"})
        invitation = await anna.ask("POST", "/api/v1/invitations", 201, json={})
        urls = [made["upload_url"], made["mjpeg_url"], made["view_url"], shared["url"], invitation["url"]]
        assert [u for u in urls if not u.startswith(far)] == []
        assert made["ftp"]["host"] == address and "127.0.0.1" not in str(made) and "[::1]" not in str(made)
        await anna.ask("PUT", made["upload_url"], 201, data=jpeg(1), headers=basic(made["login"], made["password"]))
        for link in (shared["url"], invitation["url"]):
            await anna.ask("GET", link)


@pytest.mark.skipif(lan_address() is None, reason="NO private address here: what others use is NOT tested")
async def test_who_listens_everywhere_says_where_others_reach_it(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server = await start(host="0.0.0.0")
    assert len(server.urls()) == 1, "nobody else comes in before there is an owner"
    async with owner(server) as who:
        near, far = server.urls()
        assert far == f"http://{lan_address()}:{server.port}/"
        assert f"the page is at {near} and {far}" in caplog.text
        await who.ask("GET", far + "login")


async def test_a_camera_ends_although_the_server_was_down(start: Start) -> None:
    server = await start()
    async with owner(server) as who:
        await who.add("porch", ends_s=3600)
        await who.add("yard", ends_s=3600, at_end="keep")
        made = await who.add("hall")
        await who.add("attic", ends_s=1_000_000)
        yard = await server.issue_keys("yard")
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {yard.token}"}) as http:
            await http.put(who.base + "/v1/cam/yard/picture", data=jpeg(1))
    await server.close()
    later = await start(clock=FutureClock())
    assert {c.name for c in later._cameras.all()} == {"attic", "hall", "yard"}
    assert await later._cameras.check("yard", yard.token) == 410
    assert await later._cameras.check("hall", made["token"]) == 200
    assert list((later.settings.store_path / "items" / "yard").rglob("*.clip"))


async def test_nothing_of_a_deleted_camera_stays(start: Start, connect: Uplinks) -> None:
    server = await start(durable=True)
    async with owner(server) as who:
        for n in range(30):
            await who.add(f"other-{n}")
        made = await who.add(NAME)
        await who.ask("POST", "/api/v1/shares", 201, json={"camera": NAME})
        await who.ask("POST", "/api/v1/tokens", 201, json={"name": "t", "camera": NAME})
        await who.ask("POST", "/api/v1/invitations", 201, json={"camera": NAME})
        uplink = await connect(server, NAME, made["token"])
        await uplink.hello()
        for n in range(1, 60):
            await uplink.put(item(NAME, uplink.spool, n, jpeg(n)))
        await uplink.acked(59)
        async with aiohttp.ClientSession(headers=basic(made["login"], made["password"])) as http:
            await http.put(made["upload_url"], data=jpeg(1))
        store = server.settings.store_path
        words = (NAME, made["login"], made["token"], made["password"], uplink.spool)
        assert {t.split(" in ")[0] for t in traces(store, *words)} >= {NAME, made["login"], uplink.spool}
        await who.ask("DELETE", f"/api/v1/cameras/{NAME}", 204)
        assert await uplink.closed() == 4410
        assert list(traces(store, *words)) == []
        await who.ask("DELETE", f"/api/v1/cameras/{NAME}", 404)
        async with aiohttp.ClientSession(headers=basic(made["login"], made["password"])) as http:
            assert (await http.put(made["upload_url"], data=jpeg(1))).status == 410
        async with who.http.get(made["view_url"]) as page:
            assert page.status == 404
    await server.close()
    assert list(traces(store, *words)) == []


async def test_an_erasure_that_a_crash_cut_short_is_finished(start: Start) -> None:
    server = await start()
    keys = await server.issue_keys(NAME)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {keys.token}"}) as http:
        await http.put(server.urls()[0] + f"v1/cam/{NAME}/picture", data=jpeg(1))
    row = server._cameras._rows[NAME]
    await server._archive.index.write(lambda rows: server._cameras._forget(rows, row, erase=True))  # type: ignore[union-attr]
    await server.close()
    again = await start()
    assert list(traces(again.settings.store_path, NAME)) == []


async def test_what_a_command_prints_is_where_the_server_is(start: Start) -> None:
    """The command is given the store only, and the server has a port and FTP that its settings do not name."""
    server = await start(ftp_port=0)
    store = str(server.settings.store_path)
    said = await command("virtual", "add", "porch", "--json", "--store", store)
    made = json.loads(said.text())
    assert made["upload_url"].startswith(server.urls()[0]) and made["ftp"]["port"] == server.ftp_port
    assert "No server runs" not in (await command("virtual", "keys", "porch", "--store", store)).text()
    await server.close()
    said = await command("virtual", "keys", "porch", "--json", "--store", store)
    assert ":8088/" in json.loads(said.text())["upload_url"], "where it is when it runs is not known"


async def test_the_commands(tmp_path: Path) -> None:
    async def run(*args: str, code: int = 0) -> str:
        process = await asyncio.create_subprocess_exec(
            *(*COMMAND, "virtual", *args, "--store", str(tmp_path / "store")),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = (await process.communicate())[0].decode()
        assert process.returncode == code, said
        return said

    for args in (("list",), ("show", "porch"), ("delete", "porch")):
        assert "no server's store" in await run(*args, code=66)
    assert not (tmp_path / "store").exists(), "who only asks makes none"
    made = json.loads(await run("add", "porch", "--ends", "24h", "--keep", "--quota", "5GB", "--json"))
    assert made["upload_url"].endswith("/v1/cam/porch/picture/")
    assert "ends in 24 h" in await run("list")
    shown = json.loads(await run("show", "porch", "--json"))
    assert (shown["quota_bytes"], shown["at_end"]) == (5_000_000_000, "keep")
    assert abs(shown["ends_ms"] / 1000 - time.time() - 86400) < 600
    said = await run("show", "porch")
    assert "ends       in 24 h" in said and "quota      5000.0 MB" in said
    said = await run("add", "yard")
    assert "To paste" in said and "-re before -i" in said, "a film of an hour would be over in a minute"
    assert "No server runs on this store now" in said
    (tmp_path / "store" / "server.lock").write_text('{"port": 7}')  # as who was killed leaves it
    assert "No server runs on this store now" in await run("keys", "yard")
    assert "`virtual keys porch`" in await run("add", "porch", code=2), "a camera that uploads keeps its keys"
    renewed = json.loads(await run("keys", "porch", "--json"))
    assert renewed["token"] != made["token"]
    assert json.loads(await run("show", "porch", "--json")) == shown | {"login": renewed["login"]}
    assert [c["name"] for c in json.loads(await run("list", "--json"))] == ["porch", "yard"]
    await run("add", "shed", "--ends", "110s")
    assert re.search(r"^shed    0 events, 0.0 MB   (ends in \d+ s|ended)$", await run("list"), re.M)
    assert "no virtual camera 'hall'" in await run("keys", "hall", code=66)
    await run("delete", "porch")
    assert "no virtual camera 'porch'" in await run("delete", "porch", code=66)
    assert "cannot name a camera" in await run("add", "../x", code=2)


@pytest.mark.parametrize(
    ("option", "bad", "says"),
    [
        ("--pull", "nonsense", "'nonsense': expected the address of a camera on the network"),
        ("--pull", "rtsp://admin:hunter2@cam/x", "'rtsp://cam/x': expected"),
        ("--quota", "5KB", "'5KB' is less than 1MiB"),
        ("--quota", "2000000TB", "'2000000TB' is more than any disk"),
        ("--quota", "many", "'many' is no size"),
        ("--quota", "", "'' is no size"),
        ("--ends", "soon", "'soon' is no duration"),
        ("--ends", "0s", "'0s' is no time at all"),
        ("--ends", "4000d", "'4000d' is longer than ten years"),
        ("--events", "never", "'never' is not one of 'auto', 'motion', 'pause'"),
    ],
)
def test_what_an_option_does_not_take_is_said_with_its_name(tmp_path: Path, option: str, bad: str, says: str) -> None:
    asked = CliRunner().invoke(virtual, ["add", "hall", option, bad, "--store", str(tmp_path / "store")])
    said = " ".join(asked.output.split())
    assert asked.exit_code == 2 and f"Invalid value for '{option}': {says}" in said and "hunter2" not in said
    assert not (tmp_path / "store").exists()


async def test_the_commands_take_the_file_of_an_agent_with_a_server_in_it(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    for cameras, server, code, says in (
        (
            "cameras: {hall: {source: {type: demo}}}\n",
            f"server: {{store: {tmp_path / 'store'}, port: 18999}}\n",
            0,
            ":18999",
        ),
        ("", f"server: {{store: {tmp_path / 'other'}, port: 18999}}\n", 0, ":18999"),
        (
            "cameras: {hall: {source: {type: demo}}}\n",
            "",
            78,
            "agent.yaml:1:10: error: cameras: this agent has no 'server'",
        ),
        ("camera: {}\n", "", 78, "unknown key 'camera', did you mean 'cameras'?"),
    ):
        file.write_text(cameras + server)
        said = await command("virtual", "add", "porch", "-c", str(file))
        assert said.process.returncode == code and says in said.text(), said.text()
    assert (tmp_path / "store" / "index.db").exists()


def test_a_camera_pull_address_shows_no_password() -> None:
    settings = CameraSettings(pull="http://admin:hunter2@10.0.0.9/video.cgi")
    assert "hunter2" not in repr(settings) and "hunter2" not in json.dumps(settings.as_json())
    assert CameraSettings.loads(settings.dumps()) == settings


def held() -> Counter[str]:
    """The server's objects by kind, and how many things are in their collections."""
    gc.collect()
    found: Counter[str] = Counter()
    for one in gc.get_objects():
        kind = type(one)
        if not str(kind.__module__).startswith("agent.server"):
            continue
        found[kind.__qualname__] += 1
        for name in (*getattr(one, "__dict__", ()), *getattr(kind, "__slots__", ())):
            if isinstance(value := getattr(one, name, None), dict | set | list | deque):
                found[f"{kind.__qualname__}.{name}"] += len(value)
    return found


async def test_a_deleted_camera_leaves_nothing_in_memory(start: Start, connect: Uplinks) -> None:
    server = await start(ftp_port=0)

    async def come_and_go(who: Person, name: str) -> None:
        made = await who.add(name, events="pause")
        up = {"headers": basic(made["login"], made["password"]), "data": jpeg(1)}
        await who.ask("PUT", made["upload_url"], 201, **up)
        uplink = await connect(server, name, made["token"])
        await uplink.hello()
        await asyncio.to_thread(upload_by_ftp, server.ftp_port, made["login"], made["password"])
        camera = server._cameras.get(name)
        assert camera is not None and camera.hub.latest is not None
        await who.ask("DELETE", f"/api/v1/cameras/{name}", 204)
        assert camera.hub.latest is None and not camera.hub.group, "a collector that comes once in a while"
        assert await uplink.closed() == 4410
        await who.ask("PUT", made["upload_url"], 410, **up)
        await connect.close()

    async with owner(server) as who:
        await come_and_go(who, "first")
        before = held()
        for n in range(3):
            await come_and_go(who, f"{NAME}-{n}")
        with suppress(TimeoutError):
            async with asyncio.timeout(10):  # what was cut ends by itself
                while held() - before:
                    await asyncio.sleep(0.05)
        assert held() - before == Counter()


def upload_by_ftp(port: int | None, login: str, password: str) -> None:
    assert port is not None
    ftp = ftplib.FTP()
    ftp.connect("127.0.0.1", port, timeout=20)
    ftp.login(login, password)
    ftp.storbinary("STOR a.jpg", io.BytesIO(jpeg(2)))
    ftp.close()


@pytest.mark.nightly
async def test_a_thousand_cameras_come_and_go(start: Start) -> None:
    """Rows, files, tasks and descriptors are where they were."""
    server = await start()
    fds = Path("/proc/self/fd")
    async with owner(server) as who:
        await who.add("first")
        await who.ask("DELETE", "/api/v1/cameras/first", 204)
        before = (len(list(fds.iterdir())), len(asyncio.all_tasks()))
        for n in range(1000):
            made = await who.add(f"{NAME}-{n}")
            async with aiohttp.ClientSession(headers=basic(made["login"], made["password"])) as http:
                assert (await http.put(made["upload_url"], data=jpeg(n))).status == 201
        for n in range(1000):
            await who.ask("DELETE", f"/api/v1/cameras/{NAME}-{n}", 204)
        assert abs(len(list(fds.iterdir())) - before[0]) <= 2
        assert len(asyncio.all_tasks()) <= before[1] + 2
        assert not list((server.settings.store_path / "items").iterdir())
        assert list(traces(server.settings.store_path, NAME)) == []


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="NO ffmpeg: the line for it is NOT tested")
async def test_the_line_for_ffmpeg_works_as_it_stands(start: Start) -> None:
    server = await start()
    async with owner(server) as who:
        made = await who.add("porch", events="pause")
        words = made["lines"]["ffmpeg"].split()
        at = words.index("SOURCE")
        words[at - 1 : at + 1] = ["-re", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=5", "-t", "3"]
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said = (await process.communicate())[0].decode(errors="replace")
        assert process.returncode == 0, said
        [event] = (await who.ask("GET", "/api/v1/events"))["events"]
        assert event["frames"] >= 14


async def test_after_thirty_days_nothing_tells_of_a_deleted_camera(start: Start) -> None:
    """Also on a server that has run all the time."""

    class Months(SystemClock):
        later_ns = 0

        def wall_ns(self) -> int:
            return super().wall_ns() + self.later_ns

    clock = Months()
    server = await start(clock=clock)
    token = await server.issue_token("porch")
    await server.delete_camera("porch")
    archive = server._archive
    assert archive is not None and await archive.index.read(lambda rows: rows.gone.count()) == 2
    assert await server._cameras.check("porch", token) == 410
    clock.later_ns = 31 * 86_400_000_000_000
    async with asyncio.timeout(60):
        while await archive.index.read(lambda rows: rows.gone.count()):
            await asyncio.sleep(0.05)
    assert await server._cameras.check("porch", token) == 401
