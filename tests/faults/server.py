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


def names(cameras: int) -> list[str]:
    return [CAMERA] if cameras == 1 else [f"cam{i}" for i in range(cameras)]


class Furnished(CameraServer):
    """Has its cameras before it listens."""

    names: list[str]

    async def _open(self) -> None:
        await super()._open()
        for name in self.names:
            if self._cameras.get(name) is None:
                await self._cameras._put(CameraRow(name, 1, "", sha(TOKEN), None, "{}"))


async def serve(a: argparse.Namespace) -> None:
    until = asyncio.Event()
    for s in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(s, until.set)
    server = Furnished(ServerSettings(store=a.store, port=a.port, host=a.host), notes={})
    server.names = names(a.cameras)
    await server.start()
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
