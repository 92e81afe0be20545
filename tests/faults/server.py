"""The product's camera server for fault tests: one camera, whose token is known.

python -m tests.faults.server --store DIR --port N [--break NAME]
"""

from __future__ import annotations

import argparse
import asyncio
import signal

from agent.server.app import CameraServer, ServerSettings
from agent.server.hashed import sha
from agent.server.index.rows import CameraRow
from tests.faults import planted
from tests.faults.agent import CAMERA, TOKEN


async def serve(a: argparse.Namespace) -> None:
    until = asyncio.Event()
    for s in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(s, until.set)
    server = CameraServer(ServerSettings(store=a.store, port=a.port, host=a.host), notes={})
    await server.start()
    for i in range(a.cameras):
        name = CAMERA if not i else f"{CAMERA}-{i}"
        if server._cameras.get(name) is None:
            await server._cameras._put(CameraRow(name, 1, "", sha(TOKEN), None, "{}"))
    try:
        await until.wait()
    finally:
        await server.close()


def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser()
    p.add_argument("--store", required=True)
    p.add_argument("--port", type=int, required=True)
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--cameras", type=int, default=1)
    p.add_argument("--break", dest="brk", default="")
    a = p.parse_args(argv)
    planted.plant(a.brk)
    asyncio.run(serve(a))


if __name__ == "__main__":
    main()
