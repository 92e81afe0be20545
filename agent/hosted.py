"""The camera server alone: its file, its life, and its virtual cameras from the command line."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import app, config
from agent.clock import SystemClock
from agent.config import Field, LogSettings
from agent.dispatch.listen import EVERYWHERE, lan_address
from agent.errors import UsageError
from agent.exits import NO_CAMERA
from agent.memory import give_back
from agent.server.accounts import Accounts
from agent.server.app import CameraServer, ServerSettings
from agent.server.archive import Archive, unusable
from agent.server.camera import Camera, CameraSettings
from agent.server.cameras import Cameras, Keys
from agent.server.catalog import Catalog
from agent.server.handover import Handover, Pairing, handover
from agent.server.index import UnavailableError
from agent.server.ingest.pull import source_of
from agent.server.lock import left_as_found, where
from agent.server.news import News
from agent.server.shares import Shares
from agent.server.tls import Tls
from agent.systemd import Notifier

log = logging.getLogger(__name__)

VIEW_NS = 86400 * 10**9
OWNER = 1
"""The account of whoever runs the server."""


@dataclass(frozen=True, slots=True)
class HostedConfig:
    """What a server process does."""

    server: ServerSettings
    log_level: str = "info"


_FIELDS = {"server": Field(cls=ServerSettings), "log": Field(cls=LogSettings)}


def load(path: Path | None, port: int | None, store: str | None) -> HostedConfig:
    """The server's settings from a YAML file, or the defaults; `port` and `store` win over the file.

    Raises ConfigError with all problems at once.
    """
    settings, level = ServerSettings(), "info"
    if path is not None:
        values = config.read_file(path, _FIELDS)
        settings = values["server"] or settings
        level = values["log"].level if values["log"] else level
    changes: dict[str, Any] = {}
    if port is not None:
        changes["port"] = port
    if store is not None:
        changes["store"] = store
    return HostedConfig(dataclasses.replace(settings, **changes), level)


def settings_of(path: Path | None, store: str | None) -> ServerSettings:
    """The settings of a server that runs elsewhere; the file may also be that of the agent which it is embedded in.

    Raises ConfigError with all problems at once.
    """
    settings = ServerSettings()
    if path is not None:
        cameras = dataclasses.replace(app.fields()["cameras"], default=())
        values = config.read_file(path, {**app.fields(), **_FIELDS, "cameras": cameras}, _check_server)
        settings = values["server"] or settings
    return dataclasses.replace(settings, store=store) if store is not None else settings


def _check_server(values: dict[str, Any], complain: config.Complain) -> None:
    if values["cameras"] and values["server"] is None:
        complain("cameras", "this agent has no 'server' in it")


async def serve(settings: ServerSettings, until: asyncio.Event, announce: Callable[[CameraServer], None]) -> None:
    """Run the server until `until` is set; `announce` is called once it listens."""
    notifier = Notifier()
    server = CameraServer(settings)
    try:
        for url in await server.start():
            log.info("the page is at %s", url)
        announce(server)
        notifier.ready()
        give_back()
        feeding, failing = asyncio.create_task(_feed(notifier)), asyncio.create_task(server.failure())
        ended = asyncio.create_task(until.wait())
        done, rest = await asyncio.wait({failing, ended}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*rest, feeding):
            task.cancel()
        for task in done:
            task.result()
    finally:
        notifier.stopping()
        await server.close()
    log.info("stopped; everything is closed")


async def _feed(notifier: Notifier) -> None:
    """The loop turns: that is what the watchdog asks."""
    while notifier.watchdog_s:
        notifier.watchdog()
        await asyncio.sleep(notifier.watchdog_s)


@dataclass(frozen=True, slots=True)
class Store:
    """A server's registry, opened beside a server that may be running (`runs`); it notices within a second."""

    settings: ServerSettings
    archive: Archive
    cameras: Cameras
    runs: bool

    async def add(self, name: str, chosen: CameraSettings) -> Handover:
        """Make the virtual camera; everything that its device needs. Raises UsageError, also when there is one."""
        if chosen.pull is not None:
            source_of(chosen.pull)
        if (there := self.cameras.get(name)) is not None and there.account == OWNER:
            raise UsageError(f"there is a camera '{name}' already; `virtual keys {name}` gives it new keys")
        return await self._hand_over(await self.cameras.add(name, OWNER, chosen, renew=False))

    async def renew(self, name: str) -> Handover:
        """The camera's new keys; the old ones end at once. Raises UsageError (66) when there is none."""
        camera = self._camera(name)
        if camera.ended(SystemClock().wall_ns()):
            raise UsageError(f"'{name}' has ended; give it more time on the server's page first")
        return await self._hand_over(await self.cameras.add(name, camera.account))

    async def _hand_over(self, keys: Keys) -> Handover:
        clock = SystemClock()
        camera = self._camera(keys.name)
        end_ns = camera.settings.ends_ns or clock.wall_ns() + VIEW_NS
        try:
            _, view = await Shares(self.archive.index, clock).create(camera.account, keys.name, 0, end_ns)
            code = await Pairing(self.archive.index, clock).create(keys.name)
        except ValueError as e:
            raise UsageError(f"{keys.name}: {e}") from None
        return handover(keys, self.base(), self.settings.ftp_at, code, view, self._pin())

    def _pin(self) -> str | None:
        """By which curl knows the server, if nobody certifies it. What is wrong with its files it says itself."""
        if self.settings.tls_cert is None or self.settings.tls_key is None:
            return None
        with suppress(UsageError):
            return Tls(self.settings.tls_cert, self.settings.tls_key).pin(self.base(), self.settings.port)
        return None

    def base(self) -> str:
        """The server's address as far as it is known here."""
        if self.settings.public_url:
            return self.settings.public_url.rstrip("/")
        host = self.settings.host
        if host in EVERYWHERE:  # the address before the name: hardly a camera could look that up
            host = lan_address(host) or socket.gethostname()
        scheme = "https" if self.settings.tls_cert else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.settings.port}"

    async def show(self, name: str) -> dict[str, Any]:
        """What the store knows of it; whether it is connected only the server knows. Raises UsageError (66)."""
        camera = self._camera(name)
        stored = await Catalog(self.archive, SystemClock()).stored(name, camera.settings.quota_bytes)
        known = {"name": camera.name, "login": camera.login, "pull_error": camera.pull_error or None}
        return known | camera.settings.as_json() | {"stored": stored}

    async def remove(self, name: str) -> None:
        """Erase the virtual camera with its recordings. Raises UsageError (66) when there is none."""
        self._camera(name)
        await self.cameras.remove(name)

    async def forgot(self, name: str) -> tuple[str, str]:
        """Whose ("": the owner's) new password the address sets that comes with the name, once. Raises UsageError."""
        accounts = Accounts(self.archive.index, SystemClock())
        await accounts.load()
        try:
            account, code = await accounts.forgot(name)
        except LookupError as e:
            raise UsageError(f"{self.settings.store_path}: {e.args[0]}") from None
        return account.name, f"{self.base()}/password/{code}"

    def _camera(self, name: str) -> Camera:
        camera = self.cameras.get(name)
        if camera is None:
            raise UsageError(f"no virtual camera '{name}' in {self.settings.store_path}", NO_CAMERA)
        return camera


@asynccontextmanager
async def opened(settings: ServerSettings, *, make: bool = False) -> AsyncIterator[Store]:
    """The server's store, for commands; with `make` a new one if there is none.

    Raises UsageError when it cannot be written (73), and when there is none (66).
    """
    if not make and not Archive.there(settings.store_path):
        raise UsageError(f"there is no server's store in {settings.store_path}", NO_CAMERA)
    with left_as_found(settings.store_path):
        archive = Archive(settings.store_path)
        try:
            cameras = Cameras(archive, News(), SystemClock())
            await cameras.load()
            running = where(settings)
            yield Store(running or settings, archive, cameras, running is not None)
        except UnavailableError as e:
            raise unusable(settings.store_path, e) from None
        finally:
            await archive.close()
