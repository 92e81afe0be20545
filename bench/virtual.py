"""A thousand virtual cameras added and deleted, again and again: memory, descriptors, files and rows that stay."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from bench.measure import descriptors, memory

CAMERAS, ROUNDS = 1000, 10
ROLE = "from bench import virtual; virtual.role(*__import__('sys').argv[1:])"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", ROLE, folder], check=True)


def role(folder: str) -> None:
    """The server's process, which does it to itself."""
    asyncio.run(_serve(Path(folder)))


async def _serve(store: Path) -> None:
    from agent.server.app import CameraServer, ServerSettings

    server = CameraServer(ServerSettings(port=0, store=str(store)), notes={}, durable=False)
    await server.start()
    print(f"{'before':10} {_state(store)}", flush=True)
    for n in range(ROUNDS):
        names = [f"round-{n}-{i}" for i in range(CAMERAS)]
        for name in names:
            await server.issue_keys(name)
        for name in names:
            await server.delete_camera(name)
        print(f"{(n + 1) * CAMERAS:10} {_state(store)}", flush=True)
    await server.close()


def _state(store: Path) -> str:
    with closing(sqlite3.connect(store / "index.db")) as conn:
        tables = [name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        rows = {name: conn.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
    gone = rows.pop("gone")
    files = sum(len(names) for _, _, names in os.walk(store))
    anonymous = memory(os.getpid()).anonymous_mib
    return (
        f"{anonymous:6.1f} MiB anonymous, {descriptors(os.getpid())} descriptors, {files} files,"
        f" {sum(rows.values())} rows, {gone} hashes of keys (30 days)"
    )
