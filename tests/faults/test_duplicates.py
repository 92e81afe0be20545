"""Each item comes three times at once over HTTP, through kills of the server: it is stored once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import random
from pathlib import Path

import aiohttp
import pytest

from tests.faults.agent import TOKEN
from tests.faults.rig import Rig, rig
from tests.faults.server import names

pytestmark = pytest.mark.timeout(300)
CAMERAS, ITEMS, COPIES = 10, 20, 3


async def put(http: aiohttp.ClientSession, url: str, payload: bytes) -> int:
    """Send until it is taken, as agents do; the status."""
    sha256 = base64.b64encode(hashlib.sha256(payload).digest()).decode()
    headers = {"Authorization": f"Bearer {TOKEN}", "Repr-Digest": f"sha-256=:{sha256}:"}
    headers |= {"Item-Type": "still", "Item-Wall-Ns": "1795420800000000000"}
    while True:
        try:
            async with http.put(url, data=payload, headers=headers) as answer:
                if answer.status < 500:
                    return answer.status
        except (aiohttp.ClientError, OSError):
            pass
        await asyncio.sleep(random.uniform(0.0, 0.2))


async def camera(one: Rig, name: str, http: aiohttp.ClientSession) -> list[int]:
    spool, statuses = os.urandom(8).hex(), []
    for seq in range(1, ITEMS + 1):
        payload = b"\xff\xd8" + os.urandom(20_000)
        with open(one.ledger, "a", encoding="ascii") as ledger:
            ledger.write(f"item {name} {spool} {seq} {hashlib.sha256(payload).hexdigest()}\n")
        url = f"http://127.0.0.1:{one.port}/v1/cam/{name}/item/{spool}-{seq}"
        statuses += await asyncio.gather(*(put(http, url, payload) for _ in range(COPIES)))
    return statuses


async def test_what_comes_three_times_at_once_is_stored_once(tmp_path: Path) -> None:
    with rig(tmp_path) as one:
        one.args["server"] = ["--cameras", str(CAMERAS)]
        one.start("server")
        await asyncio.to_thread(one.listening)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            sending = asyncio.gather(*(camera(one, name, http) for name in names(CAMERAS)))
            for _ in range(2):
                await asyncio.to_thread(one.more, CAMERAS * 5)
                await asyncio.to_thread(one.kill, "server")
                one.start("server")
                await asyncio.to_thread(one.listening)
            statuses = [status for each in await sending for status in each]
        found = one.judge()
    assert set(statuses) <= {200, 201} and len(statuses) == CAMERAS * ITEMS * COPIES
    assert found["ok"] and (found["promised"], found["stored"]) == (CAMERAS * ITEMS, CAMERAS * ITEMS), found
