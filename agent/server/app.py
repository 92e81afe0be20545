"""Composition root of the camera server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from agent.clock import Clock, SystemClock
from agent.dispatch.listen import EVERYWHERE, lan_address
from agent.errors import UsageError
from agent.server import notify, sqlite, upkeep
from agent.server.accounts import Accounts
from agent.server.archive import Archive, unusable
from agent.server.camera import Camera, CameraSettings
from agent.server.cameras import Cameras, Keys
from agent.server.catalog import Catalog
from agent.server.handover import Pairing
from agent.server.index import OpenIndex, UnavailableError
from agent.server.ingest import Intake
from agent.server.ingest.desk import Desk
from agent.server.ingest.ftpdata import Waiting
from agent.server.ingest.http import HttpIngest
from agent.server.ingest.local import LocalSink
from agent.server.ingest.presence import Presence
from agent.server.ingest.pull import Puller
from agent.server.ingest.upload import Upload
from agent.server.ingest.websocket import Uplink
from agent.server.lock import StoreLock, left_as_found
from agent.server.news import News
from agent.server.notify.courier import Courier, enqueue
from agent.server.port import Port, noting_browsers
from agent.server.retention import Limits, Retention
from agent.server.settings import ServerSettings
from agent.server.shares import Shares
from agent.server.tls import Tls
from agent.server.tokens import Tokens
from agent.server.web.access import Access, Names, Routes, add_headers, base_of, front
from agent.server.web.api import ROOT, Api
from agent.server.web.auth import Links, Sessions, Throttle
from agent.server.web.avi import Avi
from agent.server.web.command import Commands
from agent.server.web.films import Films
from agent.server.web.live import Live
from agent.server.web.manage import Manage
from agent.server.web.metrics import Metrics
from agent.server.web.newsfeed import NewsFeed
from agent.server.web.openapi import Op
from agent.server.web.pages import Pages
from agent.server.web.people import People
from agent.server.web.rules import Allowed
from agent.server.web.sharing import Sharing
from agent.server.web.streams import Streams
from agent.server.web.why import Why

if TYPE_CHECKING:
    from agent.server.ingest.ftp import FtpIngest

__all__ = ["CameraServer", "ServerSettings"]

log = logging.getLogger(__name__)

SWEEP_S = 10.0
LOOPBACK = "127.0.0.1"
MAX_BODY_BYTES = 64 * 1024


class CameraServer:
    """The camera server, embedded or alone.

    With `notes` it is temporary: entered by join links only, without owner and set-up, and the page tells the
    notes (`ends_at`, `kept`). Otherwise it listens on loopback only until its owner has set it up.
    `durable=False` leaves out the syncs of a store that is deleted anyway.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        durable: bool = True,
        clock: Clock | None = None,
        notes: Mapping[str, Any] | None = None,
        open_index: OpenIndex = sqlite.open_index,
    ) -> None:
        self.settings = settings
        self._durable = durable
        self._open_index = open_index
        self._clock = clock or SystemClock()
        self._temporary = notes is not None
        self._notes = notes if notes is not None else {}
        self._links = Links(self._clock)
        self._lock: StoreLock | None = None
        self._archive: Archive | None = None
        self._runner: web.AppRunner | None = None
        self._port: Port | None = None
        self._tls: Tls | None = None
        self._ftp: FtpIngest | None = None
        self._courier: Courier | None = None
        self.ftp_port: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken = asyncio.Event()
        self._bug: BaseException | None = None

    async def start(self) -> list[str]:
        """Open the store and listen; returns the page's addresses, the nearest first.

        Raises UsageError naming what and where: the store cannot be written (73) or is in use (75), the
        port is taken (75) or not permitted (77).
        """
        with left_as_found(self.settings.store_path):
            try:
                await self._open()
                self._listen(self._host())
                await self._listen_ftp(self._host())
                assert self._lock is not None
                self._lock.say(self.settings, self.port, self.ftp_port)
            except UnavailableError as e:
                await self.close()
                raise unusable(self.settings.store_path, e) from None
            except BaseException:
                await self.close()
                raise
        for camera in self._cameras.all():
            self._puller.mind(camera)
        self._spawn(upkeep.mind(self._cameras, self._tls, self._clock))
        if self._courier is not None:
            self._spawn(self._courier.run())
        self._spawn(self._retention.run(SWEEP_S))
        self._spawn(self._desk.take_over(self._cameras.get))
        self._spawn(upkeep.notice(self._cameras, self._clock))
        return self.urls()

    @property
    def port(self) -> int:
        """The port that is listened on; 0 before and after."""
        return self._port.number if self._port else 0

    def urls(self) -> list[str]:
        """The page's addresses; the first is for this machine."""
        host = self._host()
        hosts = [EVERYWHERE[host], lan_address(host)] if host in EVERYWHERE else [host]
        scheme = "https" if self.settings.tls_cert else "http"
        urls = [f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}/" for host in hosts if host]
        return urls + ([self.settings.public_url.rstrip("/") + "/"] if self.settings.public_url else [])

    async def close(self) -> None:
        """End live views, agents' sessions and everything else; within two seconds."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._port is not None:
            self._port.deaf()
            self._feed.close()
            self._presence.close()
            self._cameras.close_all(1001, "the server ends")
            ftp = [self._ftp.close()] if self._ftp is not None else []
            await asyncio.gather(self._live.close(), self._uplink.closed(), self._streams.closed(), *ftp)
            await self._puller.close()
            await self._desk.close()
            await self._cameras.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._port is not None:
            await self._port.close()
        if self._archive is not None:
            await self._archive.close()
        if self._lock is not None:
            self._lock.close()
        self._port = self._runner = self._archive = self._lock = None

    async def failure(self) -> None:
        """Raise the bug that ended something which goes on as long as the server; wait for it, for ever as a rule."""
        await self._broken.wait()
        assert self._bug is not None
        raise self._bug

    def local_sink(self) -> LocalSink:
        """The way in for an agent in this process; may be made before `start`."""
        return LocalSink(lambda: (self._cameras, self._intake))

    async def add_camera(self, name: str) -> None:
        """Make the camera of an agent in this process, if it is new. Raises UsageError for a bad name."""
        await self._cameras.local(name)

    async def issue_token(self, name: str) -> str:
        """Make the camera, or give it another upload token, which the answer is. Raises UsageError for a bad name."""
        return (await self._cameras.add(name)).token

    async def issue_keys(self, name: str, settings: CameraSettings | None = None) -> Keys:
        """The same with all keys, and with settings. Raises UsageError."""
        return await self._cameras.add(name, settings=settings)

    async def delete_camera(self, name: str) -> None:
        """End the camera's sessions and erase all of it."""
        await self._cameras.remove(name)

    def join_link(self) -> str:
        """The path of a new link that opens the page once, within five minutes."""
        return f"/j/{self._links.join()}"

    def setup_link(self) -> str | None:
        """The address that makes its reader the owner; None once there is one."""
        if self._temporary or self._accounts.owned:
            return None
        return f"{self.urls()[0]}setup/{self._links.setup}"

    def viewers(self) -> int:
        """How many people look at live pictures now."""
        return self._live.viewers

    async def _open(self) -> None:
        root, limit = self.settings.store_path, self.settings.limit_bytes
        self._lock = StoreLock(root)
        archive = Archive(root, durable=self._durable, clock=self._clock, max_bytes=limit, open_index=self._open_index)
        archive.clear_incoming()
        self._archive = archive
        self._news = News(self._clock)
        self._accounts = Accounts(archive.index, self._clock)
        await self._accounts.load()
        self._cameras = Cameras(archive, self._news, self._clock)
        await self._cameras.load()
        limits = Limits(self.settings.retention_days, self.settings.stills_days, limit)
        self._retention = Retention(archive, self._clock, limits, self._cameras.all)
        catalog = Catalog(archive, self._clock)
        self._intake = Intake(archive, catalog, self._news)
        self._uplink = Uplink(self._cameras, self._intake, self._clock)
        self._presence = Presence(self._cameras)
        self._uploads = HttpIngest(self._cameras, self._intake, self._presence)
        if self.settings.notify:
            page = (self.settings.public_url or "").rstrip("/")
            notifiers = [notify.create(s) for s in self.settings.notify]
            self._courier = Courier(archive.index, catalog, notifiers, self._clock, page)
            archive.on_item = enqueue
        self._desk = await Desk.open(self._intake, self._clock)
        catalog.arrived = self._desk.arrived
        if self.settings.tls_cert is not None and self.settings.tls_key is not None:
            self._tls = Tls(self.settings.tls_cert, self.settings.tls_key)
        if self.settings.ftp_at is not None:
            low, _, high = self.settings.ftp_passive_ports.partition("-")
            from agent.server.ingest.ftp import FtpIngest

            self._ftp = FtpIngest(
                self._cameras,
                self._desk,
                self._presence,
                self._clock,
                tls=self._tls,
                ports=(int(low), int(high)),
                address=self.settings.ftp_address,
                shared=self._expect if self.settings.single_port_ftp else None,
            )
        self._tokens = Tokens(archive.index, self._accounts, self._clock)
        await self._tokens.load()
        sessions = Sessions(archive.index, self._accounts, self._clock, durable=not self._temporary)
        await sessions.load()
        self._puller = Puller(self._cameras, self._desk, self._clock)
        self._cameras.on_change = self._camera_changed
        self._cameras.on_foreign = self._reload
        self._cameras.remembered = catalog.newest
        self._runner = web.AppRunner(
            self._application(catalog, sessions),
            access_log=None,
            auto_decompress=False,
            shutdown_timeout=0.5,
            keepalive_timeout=30.0,
        )
        await self._runner.setup()
        ftp = self._ftp.protocol if self._ftp is not None and self.settings.ftp else None
        self._port = Port(self._runner, self._tls.pages if self._tls else None, ftp, self.settings.limits)
        self._metrics.add(self._port.metrics)

    def _application(self, catalog: Catalog, sessions: Sessions) -> web.Application:
        public = self.settings.public_url
        index, clock = catalog.index, self._clock
        cookie = f"camera-agent-{self._cameras.store_id}"
        pages = Pages(
            sessions,
            self._accounts,
            self._links,
            Throttle(clock),
            cookie=cookie,
            temporary=self._temporary,
            secure=self._tls is not None or (bool(public) and urlsplit(public).scheme == "https"),
            on_setup=lambda: self._spawn(self._move()),
            on_logout=lambda key: self._live.end_session(key),
        )
        rules = Allowed(pages, self._tokens, self._cameras, self._accounts)
        self._live = Live(self._cameras, clock, rules, pages.session)
        self._streams = Streams(self._cameras, rules)
        names = Names(public, self.settings.host)
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.middlewares.extend((noting_browsers(lambda: self._port), front(names, pages.message)))
        app.on_response_prepare.append(add_headers)
        self.routes = Routes(app, rules)
        api = Api(self._cameras, self._accounts, catalog, clock, self._notes, cookie)
        self._feed = NewsFeed(self._news, rules, api.visible)
        shares, pairing = Shares(index, clock), Pairing(index, clock)
        base, people = self._base, pages.log_out
        films = Films(api, self._cameras, catalog, rules, clock)
        for rooms in (
            pages,
            api,
            Manage(
                api,
                self._cameras,
                self._accounts,
                catalog,
                shares,
                pairing,
                self._news,
                clock,
                base=base,
                ftp_port=lambda: self.ftp_port or (self.port if self.settings.ftp else None),
                pin=lambda base: self._tls.pin(base, self.port) if self._tls else None,
            ),
            People(self._accounts, self._cameras, self._tokens, base=base, log_out=people, throttle=Throttle(clock)),
            Sharing(shares, self._cameras, catalog, self._streams, films, clock, pages.page),
            Commands(self._cameras),
            Why(api, self._cameras, catalog, clock),
            self._streams,
            films,
            Avi(api, catalog),
            Upload(self._cameras, self._desk, self._presence),
        ):
            rooms.add_to(self.routes)
        self._metrics = Metrics(pages.role)
        self.routes.add("GET", "/metrics", Access.OPEN, self._metrics.handle)
        self.routes.add("GET", "/health", Access.OPEN, _health)
        told = Op("What happens, as server-sent events; endless", media=("text/event-stream",))
        self.routes.add("GET", ROOT + "/news", Access.VIEWER, self._feed.handle, told)
        self.routes.add("GET", ROOT + "/cameras/{camera}/live", Access.VIEWER, self._live.handle)
        self.routes.add("GET", "/v1/cam/{camera}/stream", Access.TOKEN, self._uplink.handle)
        self._uploads.add_to(self.routes)
        return app

    def _base(self, request: web.Request) -> str:
        return base_of(request, self.settings.public_url, self._host(), self.port)

    def _camera_changed(self, camera: Camera) -> None:
        self._puller.mind(camera)
        if self._cameras.get(camera.name) is None:
            self._desk.forget(camera.name)
            if self._ftp is not None:
                self._ftp.forget(camera.name)
            self._accounts.forget(camera.name)
            self._tokens.forget(camera.name)

    def _host(self) -> str:
        return self.settings.host if self._temporary or self._accounts.owned else LOOPBACK

    def _listen(self, host: str) -> None:
        assert self._port is not None
        self._port.listen(host, self.settings.port)

    async def _listen_ftp(self, host: str) -> None:
        self.ftp_port = self.ftp_port or self.settings.ftp_port
        if self._ftp is not None and self.ftp_port is not None:
            self.ftp_port = await self._ftp.listen(host, self.ftp_port)

    def _expect(self, peer: str) -> Waiting:
        assert self._port is not None
        return self._port.expect(peer)

    async def _move(self) -> None:
        """The owner is there: listen where the settings say."""
        if self._port is None or self.settings.host == LOOPBACK:
            return
        try:
            self._listen(self.settings.host)
            await self._listen_ftp(self.settings.host)
            log.info("the owner is set up; the page is at %s", " and ".join(self.urls()))
        except UsageError as e:
            log.error("%s; still on loopback only", e)
            self._listen(LOOPBACK)

    async def _reload(self) -> None:
        await self._accounts.load()
        await self._tokens.load()

    def _spawn(self, job: Any) -> None:
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (e := task.exception()) is not None:
            log.error("a part of the server failed; all of it stops", exc_info=e)
            self._bug = self._bug or e
            self._broken.set()


async def _health(_: web.Request) -> web.Response:
    """For those who only want to know whether it answers."""
    return web.Response(text="ok\n")
