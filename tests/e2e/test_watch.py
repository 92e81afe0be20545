"""`watch`: says what it does, tells programs in CloudEvents, and leaves nothing behind unless told to keep."""

import asyncio
import fcntl
import os
import re
import shlex
import signal
import sqlite3
import struct
import termios
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.product import COMMAND, ROOT, command, film, running

KINDS = [
    "camera-agent.watch.started.v1",
    "camera-agent.motion.started.v1",
    "camera-agent.motion.ended.v1",
    "camera-agent.watch.ended.v1",
]


PLACES = {
    "TMPDIR": "T",
    "XDG_RUNTIME_DIR": "R",
    "XDG_STATE_HOME": "S",
    "XDG_CONFIG_HOME": "C",
    "XDG_CACHE_HOME": "K",
    "HOME": "H",
}
"""Short names: a socket's path has room for 107 letters."""


def places(tmp_path: Path) -> dict[str, str]:
    """An environment whose every place to write is below `tmp_path`."""
    for folder in PLACES.values():
        (tmp_path / folder).mkdir(exist_ok=True)
    return {name: str(tmp_path / folder) for name, folder in PLACES.items()} | {"RUNTIME_DIRECTORY": ""}


def left(tmp_path: Path) -> list[str]:
    return [str(p) for folder in PLACES.values() for p in (tmp_path / folder).rglob("*")]


async def test_json_is_four_kinds_of_cloudevents_and_the_last_has_the_counts(tmp_path: Path) -> None:
    film(tmp_path / "film", still=20, moving=20)
    done = await command("watch", str(tmp_path / "film"), "--for", "11s", "--port", "0", "--json", env=places(tmp_path))
    events = done.events()
    kinds = [e["type"] for e in events]
    assert kinds[0] == KINDS[0] and kinds[-1] == KINDS[3]
    assert set(kinds) == set(KINDS), kinds
    for e in events:
        assert e["specversion"] == "1.0" and e["source"].startswith("/cameras/") and e["time"].endswith("Z")
    assert len({e["id"] for e in events}) == len(events)
    counts = events[-1]["data"]
    assert counts["events"] == kinds.count(KINDS[1]) == kinds.count(KINDS[2])
    assert counts["frames"] > 0 and counts["stored_items"] > 0 and counts["dropped_items"] == 0
    assert counts["deleted"] is True and left(tmp_path) == []


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_nothing_is_left_behind(tmp_path: Path, end: int) -> None:
    async with running("watch", "demo", "--port", "0", env=places(tmp_path)) as watch:
        await watch.said("opens once")
        assert left(tmp_path)
        assert await watch.end(end) == 0
        assert "Nothing is left." in watch.text()
    assert left(tmp_path) == []


async def test_started_with_nohup_it_outlives_its_terminal(tmp_path: Path) -> None:
    watch = await asyncio.create_subprocess_exec(
        "nohup", *COMMAND, "watch", "demo", "--port", "0", "--for", "4s",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT, env=os.environ | places(tmp_path),
    )  # fmt: skip
    assert watch.stdout is not None
    said = b""
    while b"opens once" not in said:
        said += await watch.stdout.read(1000)
    watch.send_signal(signal.SIGHUP)
    said += await asyncio.wait_for(watch.stdout.read(), 60)
    assert await watch.wait() == 0 and b"ended after 4 s" in said


@pytest.mark.parametrize("args", ["", "--json"])
async def test_started_without_any_descriptor_it_watches(tmp_path: Path, args: str) -> None:
    """As some programs that start others do."""
    line = shlex.join(
        [*COMMAND, "watch", "demo", "--port", "0", "--local", "--for", "2s", "--keep", str(tmp_path / "k")]
    )
    watch = await asyncio.create_subprocess_shell(
        f"exec {line} {args} <&- >&- 2>&-", cwd=ROOT, env=os.environ | places(tmp_path)
    )
    assert await asyncio.wait_for(watch.wait(), 60) == 0
    with sqlite3.connect(tmp_path / "k" / "index.db") as index:
        assert index.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_in_a_locale_without_utf_8_the_page_is_none_the_worse(tmp_path: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "utf-8"}
    async with running("watch", "demo", "--port", "0", "--local", env=places(tmp_path) | plain) as watch:
        link = (await watch.said(r"here +(\S+)"))[1]
        async with aiohttp.ClientSession() as http, http.get(link.rpartition("/j/")[0] + "/login") as page:
            assert "<title>Open your link · camera-agent</title>" in await page.text()
        assert await watch.end() == 0


async def test_a_closed_terminal_is_a_clean_end(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    with open(tmp_path / "err", "wb") as err:
        watch = await asyncio.create_subprocess_exec(
            *COMMAND, "watch", "demo", "--port", "0",
            stdin=theirs, stdout=theirs, stderr=err, cwd=ROOT, env=os.environ | places(tmp_path),
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
    os.close(theirs)
    said = b""
    while b"LIVE" not in said:
        said += await asyncio.to_thread(os.read, ours, 4096)
    os.close(ours)
    assert await asyncio.wait_for(watch.wait(), 60) == 0
    assert (tmp_path / "err").read_bytes() == b"" and left(tmp_path) == []


async def test_its_keys_make_it_longer_give_a_link_and_end_it(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    before = termios.tcgetattr(theirs)

    def have_a_terminal() -> None:
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    watch = await asyncio.create_subprocess_exec(
        *COMMAND, "watch", "demo", "--local", "--port", "0", "--for", "10m", stdin=theirs, stdout=theirs, stderr=theirs,
        cwd=ROOT, env=os.environ | places(tmp_path) | {"TERM": "xterm"}, start_new_session=True,
        preexec_fn=have_a_terminal,
    )  # fmt: skip
    said = ""

    async def until(pattern: str) -> str:
        nonlocal said
        try:
            async with asyncio.timeout(60):
                while not (found := re.search(pattern, said)):
                    said += (await asyncio.to_thread(os.read, ours, 4096)).decode(errors="replace")
        except TimeoutError:
            pytest.fail(f"{pattern} is not in {said[-2000:]!r}")
        said = said[found.end() :]
        return found[1]

    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:

        async def ends() -> datetime:
            async with browser.get(f"{page}/api/v1/about") as answer:
                return datetime.fromisoformat((await answer.json())["notes"]["ends_at"])

        page = (await until(r"here +(\S+)   opens once")).partition("/j/")[0]
        await until(r"(q end)")
        os.write(ours, b"r")
        async with browser.get(await until(r"link +(\S+)   opens once")) as answer:
            assert answer.status == 200
        first = await ends()
        os.write(ours, b"+")
        await until("(15 minutes more)")
        assert await ends() - first == timedelta(minutes=15)
        for columns, line in ((100, "[^\r]+ event[^\r]+ viewer[^\r]+"), (50, "[^\rv]+")):
            fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
            await until(rf"LIVE  demo {line}(ends in \d+:\d\d)\r")
        os.write(ours, b"q")
        await until(r"(Nothing is left)")
    assert await asyncio.wait_for(watch.wait(), 60) == 0
    assert termios.tcgetattr(theirs) == before
    os.close(theirs)
    os.close(ours)


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [("--json | head -n 1", 0, ""), ("| head -n 1", 0, ""), ("> /dev/full", 73, "No space left on device\n")],
)
async def test_nobody_reads_it_is_a_clean_end(tmp_path: Path, args: str, code: int, says: str) -> None:
    watch = await asyncio.create_subprocess_exec(
        "bash", "-o", "pipefail", "-c", f"{shlex.join(COMMAND)} watch demo --port 0 {args}",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, cwd=ROOT, env=os.environ | places(tmp_path),
    )  # fmt: skip
    _, err = await asyncio.wait_for(watch.communicate(), 60)
    last = err.decode().rpartition("camera-agent: ")[2] if says else ""
    assert watch.returncode == code and b"Traceback" not in err and last.endswith(says), err.decode()
    assert left(tmp_path) == []


async def killed(env: dict[str, str]) -> None:
    async with running("watch", "demo", "--port", "0", env=env) as watch:
        await watch.said("opens once")
        while not list(Path(env["HOME"]).parent.rglob("agent-*.sock")):
            await asyncio.sleep(0.05)
        await watch.end(signal.SIGKILL)


@pytest.mark.parametrize("runtime", [None, ""])
async def test_a_killed_watch_is_tidied_up_by_the_next(tmp_path: Path, runtime: str | None) -> None:
    env = places(tmp_path) | ({} if runtime is None else {"XDG_RUNTIME_DIR": runtime})
    await killed(env)
    assert left(tmp_path)
    await command("watch", "demo", "--port", "0", "--for", "1s", env=env)
    assert left(tmp_path) == []


async def test_recordings_of_a_killed_watch_are_found_in_either_place(tmp_path: Path) -> None:
    env = places(tmp_path)
    await killed(env | {"XDG_RUNTIME_DIR": ""})
    assert list(tmp_path.rglob("camera-agent-watch-*"))
    await command("watch", "demo", "--port", "0", "--for", "1s", env=env)
    assert not list(tmp_path.rglob("camera-agent-watch-*"))


async def test_keep_keeps_what_can_be_watched_again(tmp_path: Path) -> None:
    film(tmp_path / "film", still=15, moving=20)
    keep = tmp_path / "kept"
    done = await command("watch", str(tmp_path / "film"), "--for", "10s", "--port", "0", "--keep", str(keep))
    assert f"kept: recordings in {keep}" in done.text() and f" server --store {keep}" in done.text()
    assert list(keep.rglob("*.clip"))
    with sqlite3.connect(keep / "index.db") as db:
        assert db.execute("SELECT COUNT(*) FROM events").fetchone()[0] >= 1
    db.close()
    assert not (keep / "watch.lock").exists()


async def test_two_watches_at_once_find_a_port_each(tmp_path: Path) -> None:
    async with running("watch", "demo", "--local") as one, running("watch", "demo", "--local") as two:
        first = (await one.said(r"http://127.0.0.1:(\d+)/j/"))[1]
        second = (await two.said(r"http://127.0.0.1:(\d+)/j/"))[1]
        assert first != second
        assert await one.end() == await two.end() == 0
