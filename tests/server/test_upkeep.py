"""What the server sees to every second, when it cannot."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from agent.clock import SystemClock
from agent.server import upkeep
from agent.server.tls import Tls
from tests.server.conftest import Start
from tests.server.test_ftp import files

__all__ = ["files"]


class Quick(SystemClock):
    """Sleeps as little as possible, and counts how often."""

    slept = 0

    async def sleep(self, seconds: float) -> None:
        self.slept += 1
        await asyncio.sleep(0)

    async def rounds(self, count: int) -> None:
        until = self.slept + count
        while self.slept < until:
            await asyncio.sleep(0.001)


async def test_what_lasts_is_said_once(
    start: Start, files: tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server, cert, clock = await start(), tmp_path / "cert.pem", Quick()
    cert.write_bytes(Path(files[0]).read_bytes())
    task = asyncio.create_task(upkeep.mind(server._cameras, Tls(str(cert), files[1]), clock))

    def said() -> int:
        return sum(r.levelno >= logging.WARNING for r in caplog.records if r.name == "agent.server.upkeep")

    try:
        for n in (1, 2):
            cert.write_bytes(b"no certificate")
            await clock.rounds(20)
            assert said() == n, "once for each time that it is broken"
            cert.write_bytes(Path(files[0]).read_bytes())
            await clock.rounds(20)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
