"""A thousand virtual cameras added, used and deleted, again and again: memory, descriptors, files, rows that stay."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urljoin

import aiohttp

from bench.agent import COMMAND, said, started
from bench.ftp import jpeg
from bench.measure import descriptors, memory

CAMERAS, ROUNDS, WARM_UP, AT_ONCE = 1000, 5, 200, 100
SETTLE_S = 2.0  # until what was freed is given back
PASSWORD = "correct horse battery"


def main() -> None:
    memory_disk = "/dev/shm" if os.path.isdir("/dev/shm") else None  # a disk's syncs would take minutes
    with tempfile.TemporaryDirectory(prefix="bench-", dir=memory_disk) as name:
        store, log = Path(name) / "store", Path(name) / "server.log"
        with started([*COMMAND, "server", "--port", "0", "--store", str(store)], log) as server:
            asyncio.run(_owner(server.pid, said(log, r"(http://\S+/setup/\S+)"), store))


async def _owner(pid: int, link: str, store: Path) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        await http.post(link, data={"password": PASSWORD, "again": PASSWORD})
        cameras = urljoin(link, "/api/v1/cameras")
        print(f"{'started':10} {_state(pid, store)}", flush=True)
        await _come_and_go(http, cameras, WARM_UP)
        print(f"{'warmed up':10} {_state(pid, store)}", flush=True)
        for n in range(ROUNDS):
            each_ms = await _come_and_go(http, cameras, CAMERAS)
            print(f"{(n + 1) * CAMERAS:10} {_state(pid, store)}, {each_ms:.0f} ms each", flush=True)


async def _come_and_go(http: aiohttp.ClientSession, cameras: str, count: int) -> float:
    """How many ms each took."""
    picture, begin = jpeg(30_000), time.monotonic()
    for _ in range(count // AT_ONCE):
        for n in range(AT_ONCE):
            async with http.post(cameras, json={"name": f"camera-{n}"}) as answer:
                made = await answer.json()
            headers = {"Authorization": f"Bearer {made['token']}"}
            async with http.put(made["upload_url"], data=picture, headers=headers) as answer:
                assert answer.status == 201, await answer.text()
        for n in range(AT_ONCE):
            async with http.delete(f"{cameras}/camera-{n}") as answer:
                assert answer.status == 204, await answer.text()
    each_ms = (time.monotonic() - begin) / count * 1000
    await asyncio.sleep(SETTLE_S)
    return each_ms


def _state(pid: int, store: Path) -> str:
    with closing(sqlite3.connect(store / "index.db")) as conn:
        tables = [name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        rows = {name: conn.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
    gone = rows.pop("gone")
    files = sum(len(names) for _, _, names in os.walk(store))
    return (
        f"{memory(pid).anonymous_mib:6.1f} MiB anonymous, {descriptors(pid)} descriptors, {files} files,"
        f" {sum(rows.values())} rows, {gone} hashes of keys (30 days)"
    )
