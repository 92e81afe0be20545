"""The API for changing: virtual cameras, events (kept, deleted), share links, and the way that agents pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from agent.clock import Clock
from agent.errors import UsageError
from agent.server.accounts import OWNER, Accounts
from agent.server.camera import without_login
from agent.server.cameras import Camera, Cameras, CameraSettings, Keys
from agent.server.catalog import Catalog
from agent.server.handover import Handover, Pairing, handover
from agent.server.ingest.pull import source_of
from agent.server.news import News
from agent.server.shares import Shares
from agent.server.web import shapes
from agent.server.web.access import Access, Routes, asking
from agent.server.web.api import EVENT_ID, ROOT, Api, body
from agent.server.web.auth import Throttle
from agent.server.web.openapi import Op

VIEW_NS = 86400 * 10**9


class Manage:
    """`base(request)` is the server's address as the asker reached it; `ftp_port` None: no FTP here.

    `pin(address)`: by which curl knows the server there, if nobody certifies it.
    """

    def __init__(
        self,
        api: Api,
        cameras: Cameras,
        accounts: Accounts,
        catalog: Catalog,
        shares: Shares,
        pairing: Pairing,
        news: News,
        clock: Clock,
        *,
        base: Callable[[web.Request], str],
        ftp_port: Callable[[], int | None],
        pin: Callable[[str], str | None],
    ) -> None:
        self._api = api
        self._cameras = cameras
        self._accounts = accounts
        self._catalog = catalog
        self._shares = shares
        self._pairing = pairing
        self._news = news
        self._clock = clock
        self._base = base
        self._ftp_port = ftp_port
        self._pin = pin
        self._throttle = Throttle(clock)

    def add_to(self, routes: Routes) -> None:
        camera, mine = ROOT + "/cameras/{camera}", Access.MANAGE
        made = Op("Add a virtual camera", Handover, 201, shapes.NewCamera, errors=(409,))
        routes.add("POST", ROOT + "/cameras", mine, self._add, made)
        settings = Op(
            "Other settings; what is left out gets its default", shapes.CameraDetailJson, 200, shapes.NewCamera
        )
        routes.add("PUT", camera, mine, self._change, settings)
        routes.add("DELETE", camera, mine, self._delete, Op("End the camera and erase all of it", status=204))
        renewed = Op("New keys; the old ones end at once", Handover, 201, errors=(409,))
        routes.add("POST", camera + "/keys", mine, self._renew, renewed)
        event = ROOT + f"/events/{{id:{EVENT_ID}}}"
        mark = Op("Keep the event, or no more", shapes.EventJson, 200, shapes.Keep)
        routes.add("PUT", event + "/kept", mine, self._keep, mark)
        erase = Op(
            "Delete the event with its pictures and links, unless it is kept or goes on", status=204, errors=(409,)
        )
        routes.add("DELETE", event, mine, self._delete_event, erase)
        shared = Op("A link for the public", shapes.NewShareJson, 201, shapes.NewShare, errors=(404, 409))
        routes.add("POST", ROOT + "/shares", mine, self._share, shared)
        routes.add("GET", ROOT + "/shares", mine, self._list_shares, Op("Your links", shapes.SharesJson))
        revoke = Op("The link opens no more", status=204)
        routes.add("DELETE", ROOT + r"/shares/{share:[0-9]{1,15}}", mine, self._revoke, revoke)
        paired = Op(
            "An agent's token for its pairing code, once", shapes.PairedJson, 200, shapes.PairingCode, errors=(410, 429)
        )
        routes.add("POST", "/v1/pair", Access.TOKEN, self._pair, paired)

    async def _links(self, request: web.Request, camera: Camera) -> tuple[str, str]:
        """A pairing code, and the path of a link that shows the camera for a while. Raises HTTPConflict."""
        who = asking(request)
        end_ns = who.within(camera.settings.ends_ns or self._clock.wall_ns() + VIEW_NS)
        try:
            _, view = await self._shares.create(who.account, camera.name, 0, end_ns)
            return await self._pairing.create(camera.name), view
        except ValueError as e:
            raise web.HTTPConflict(text=str(e)) from None

    def _handover(self, request: web.Request, keys: Keys, code: str, view: str) -> web.Response:
        base = self._base(request)
        answer = handover(keys, base, self._ftp_port(), code, view, self._pin(base))
        return web.json_response(answer, status=201, headers={"Location": f"{ROOT}/cameras/{keys.name}"})

    def _settings(self, request: web.Request, wanted: shapes.NewCamera, now: str | None = None) -> CameraSettings:
        """`now`: the address that is fetched from; named without its login, as we tell it, it stays as it is."""
        if now is not None and wanted.pull == without_login(now):
            wanted = replace(wanted, pull=now)
        elif wanted.pull is not None and asking(request).role != OWNER:
            raise web.HTTPForbidden(text="only the server's owner may let the server fetch from an address")
        try:
            if wanted.pull is not None:
                source_of(wanted.pull)
        except UsageError as e:
            raise web.HTTPBadRequest(text=str(e)) from None
        if wanted.ends_s is not None and wanted.ends_ms is not None:
            raise web.HTTPBadRequest(text="ends_s or ends_ms, not both")
        ends_ns = None if wanted.ends_ms is None else round(wanted.ends_ms * 1e6)
        if wanted.ends_s is not None:
            ends_ns = self._clock.wall_ns() + round(wanted.ends_s * 1e9)
        names = ("at_end", "quota_bytes", "retention_days", "stills_days", "events", "pause_s", "pull")
        try:
            return CameraSettings.of(ends_ns=ends_ns, **{n: getattr(wanted, n) for n in names})
        except UsageError as e:
            raise web.HTTPBadRequest(text=str(e)) from None

    async def _add(self, request: web.Request) -> web.Response:
        if asking(request).camera:
            raise web.HTTPForbidden(text="this token is for one camera only")
        wanted: shapes.NewCamera = await body(request, shapes.NewCamera)
        settings = self._settings(request, wanted)
        if wanted.ends_ms is not None and wanted.ends_ms <= self._clock.wall_ns() / 1e6:
            raise web.HTTPBadRequest(text="ends_ms has passed")
        keys = await self._keys(wanted.name, asking(request).account, settings, renew=False)
        if (camera := self._cameras.get(keys.name)) is None:
            raise web.HTTPConflict(text="the camera was deleted meanwhile")
        return self._handover(request, keys, *await self._links(request, camera))

    async def _change(self, request: web.Request) -> web.StreamResponse:
        wanted: shapes.NewCamera = await body(request, shapes.NewCamera)
        name = request.match_info["camera"]
        if wanted.name != name:
            raise web.HTTPBadRequest(text="a camera's name stays what it is")
        if (camera := self._cameras.get(name)) is not None:
            settings = self._settings(request, wanted, camera.settings.pull)
            await self._cameras.change(name, settings)
        return await self._api.show(request)

    async def _delete(self, request: web.Request) -> web.Response:
        await self._cameras.remove(request.match_info["camera"])
        return web.Response(status=204)

    async def _renew(self, request: web.Request) -> web.Response:
        name = request.match_info["camera"]
        camera = self._cameras.get(name)
        if camera is None or camera.ended(self._clock.wall_ns()):
            raise web.HTTPConflict(text="the camera has ended; give it more time first")
        links = await self._links(request, camera)  # first: what fails then has not taken the old keys away
        return self._handover(request, await self._keys(name, camera.account), *links)

    async def _keys(
        self, name: str, account: int, settings: CameraSettings | None = None, *, renew: bool = True
    ) -> Keys:
        try:
            return await self._cameras.add(name, account, settings, renew=renew)
        except UsageError as e:
            raise web.HTTPConflict(text=str(e)) from None

    async def _keep(self, request: web.Request) -> web.Response:
        event = await self._api.stored_event(request, manage=True)
        wanted: shapes.Keep = await body(request, shapes.Keep)
        return web.json_response((await self._catalog.keep(event, wanted.kept)).as_json())

    async def _delete_event(self, request: web.Request) -> web.Response:
        event = await self._api.stored_event(request, manage=True)
        try:
            await self._catalog.delete(event)
        except ValueError as e:
            raise web.HTTPConflict(text=str(e)) from None
        self._news.tell("event", event.as_json() | {"state": "deleted"})
        return web.Response(status=204)

    async def _share(self, request: web.Request) -> web.Response:
        wanted: shapes.NewShare = await body(request, shapes.NewShare)
        name = wanted.camera or ""
        if wanted.event is not None:
            event = await self._catalog.event(wanted.event)
            name = event.camera if event and wanted.camera in (None, event.camera) else ""
        camera, who = self._cameras.get(name), asking(request)
        if camera is None or not self._accounts.may(who, camera, manage=True):
            raise web.HTTPNotFound(text="no such camera or event of yours")
        end_ns = who.within(self._clock.wall_ns() + round(wanted.life_s * 1e9))
        try:
            share, path = await self._shares.create(who.account, name, wanted.event or 0, end_ns)
        except ValueError as e:
            raise web.HTTPConflict(text=str(e)) from None
        return web.json_response(share.as_json() | {"url": self._base(request) + path}, status=201)

    async def _list_shares(self, request: web.Request) -> web.Response:
        who = asking(request)
        return web.json_response({"shares": [s.as_json() for s in await self._shares.of(who.account, who.camera)]})

    async def _revoke(self, request: web.Request) -> web.Response:
        who = asking(request)
        if not await self._shares.revoke(int(request.match_info["share"]), who.account, who.camera):
            raise web.HTTPNotFound(text="no such link")
        return web.Response(status=204)

    async def _pair(self, request: web.Request) -> web.Response:
        address = request.remote or ""
        if wait_s := self._throttle.wait_s(address):
            raise web.HTTPTooManyRequests(text="too many wrong codes", headers={"Retry-After": str(wait_s)})
        self._throttle.failed(address)
        code = (await body(request, shapes.PairingCode)).code.strip()
        name = await self._pairing.redeem(code)
        token = await self._cameras.renew_token(name) if name else None
        if name is None or token is None:
            raise web.HTTPGone(text="this code is used up or unknown; make another")
        self._throttle.succeeded(address)
        url = self._base(request).replace("http", "ws", 1) + f"/v1/cam/{name}/stream"
        return web.json_response({"name": name, "token": token, "websocket_url": url})
