"""The camera server alone: its file, its life, and its virtual cameras from the command line."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import config
from agent.clock import SystemClock
from agent.config import Field, LogSettings
from agent.errors import UsageError
from agent.exits import NO_CAMERA
from agent.server.app import CameraServer, ServerSettings
from agent.server.archive import Archive
from agent.server.cameras import Cameras
from agent.server.news import News
from agent.systemd import Notifier

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HostedConfig:
    """What a server process does."""

    server: ServerSettings
    log_level: str = "info"


def load(path: Path | None, port: int | None, store: str | None) -> HostedConfig:
    """The server's settings from a YAML file, or the defaults; `port` and `store` win over the file.

    Raises ConfigError with all problems at once.
    """
    settings, level = ServerSettings(), "info"
    if path is not None:
        values = config.read_file(
            path, {"server": Field(cls=ServerSettings, default=settings), "log": Field(cls=LogSettings, default=None)}
        )
        settings = values["server"]
        level = values["log"].level if values["log"] else level
    changes: dict[str, Any] = {}
    if port is not None:
        changes["port"] = port
    if store is not None:
        changes["store"] = store
    return HostedConfig(dataclasses.replace(settings, **changes), level)


async def serve(settings: ServerSettings, until: asyncio.Event, announce: Callable[[CameraServer], None]) -> None:
    """Run the server until `until` is set; `announce` is called once it listens."""
    notifier = Notifier()
    server = CameraServer(settings)
    try:
        for url in await server.start():
            log.info("the page is at %s", url)
        announce(server)
        notifier.ready()
        feeding = asyncio.create_task(_feed(notifier))
        await until.wait()
        feeding.cancel()
    finally:
        notifier.stopping()
        await server.close()


async def _feed(notifier: Notifier) -> None:
    """The loop turns: that is what the watchdog asks."""
    while notifier.watchdog_s:
        notifier.watchdog()
        await asyncio.sleep(notifier.watchdog_s)


@asynccontextmanager
async def _cameras(settings: ServerSettings) -> AsyncIterator[Cameras]:
    archive = Archive(settings.store_path)
    try:
        cameras = Cameras(archive, News(), SystemClock())
        await cameras.load()
        yield cameras
    finally:
        await archive.close()


async def add(settings: ServerSettings, name: str) -> str:
    """Make the virtual camera, or give it a new token; returns the token. A running server notices."""
    async with _cameras(settings) as cameras:
        return await cameras.add(name)


async def names(settings: ServerSettings) -> list[str]:
    async with _cameras(settings) as cameras:
        return [c.name for c in cameras.all()]


async def remove(settings: ServerSettings, name: str) -> None:
    """Erase the virtual camera with its recordings; raises UsageError (66) when there is none."""
    async with _cameras(settings) as cameras:
        if cameras.get(name) is None:
            raise UsageError(f"no virtual camera '{name}' in {settings.store_path}", NO_CAMERA)
        await cameras.remove(name)
