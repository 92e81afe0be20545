"""The API for people: accounts, invitations, who may see a camera, and tokens for programs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from agent.server.accounts import OWNER, Accounts
from agent.server.cameras import Cameras
from agent.server.tokens import Tokens
from agent.server.web import shapes
from agent.server.web.access import Access, Routes, asking
from agent.server.web.api import ROOT, body
from agent.server.web.auth import Throttle
from agent.server.web.openapi import Op


class People:
    """`log_out(account)` ends an account's sessions and what they look at."""

    def __init__(
        self,
        accounts: Accounts,
        cameras: Cameras,
        tokens: Tokens,
        *,
        base: Callable[[web.Request], str],
        log_out: Callable[[int], Awaitable[None]],
        throttle: Throttle,
    ) -> None:
        self._throttle = throttle
        self._accounts = accounts
        self._cameras = cameras
        self._tokens = tokens
        self._base = base
        self._log_out = log_out

    def add_to(self, routes: Routes) -> None:
        mine, viewers = Access.MANAGE, ROOT + "/cameras/{camera}/viewers"
        admin, account = Access.ADMIN, Access.ACCOUNT
        routes.add("GET", ROOT + "/accounts", admin, self._list, Op("All accounts", shapes.AccountsJson))
        delete = Op("Delete the account with its cameras", status=204, errors=(409,))
        routes.add("DELETE", ROOT + r"/accounts/{account:[0-9]{1,15}}", admin, self._delete, delete)
        invite = Op("A one-time link that makes an account", shapes.LinkJson, 201, shapes.Invitation, errors=(404, 409))
        routes.add("POST", ROOT + "/invitations", mine, self._invite, invite)
        routes.add("GET", viewers, mine, self._viewers, Op("Who else sees the camera", shapes.AccountsJson))
        gone = Op("The account sees the camera no more", status=204)
        routes.add("DELETE", viewers + r"/{account:[0-9]{1,15}}", mine, self._revoke, gone)
        routes.add("GET", ROOT + "/tokens", account, self._list_tokens, Op("Your API tokens", shapes.TokensJson))
        new = Op("A token, shown once", shapes.NewTokenJson, 201, shapes.NewToken, errors=(404, 409))
        routes.add("POST", ROOT + "/tokens", account, self._new_token, new)
        revoke = Op("The token ends", status=204)
        routes.add("DELETE", ROOT + r"/tokens/{token:[0-9]{1,15}}", account, self._revoke_token, revoke)
        password = Op("Another password; ends all your sessions", status=204, body=shapes.NewPassword, errors=(429,))
        routes.add("PUT", ROOT + "/password", account, self._password, password)
        everywhere = Op("End all your sessions", status=204)
        routes.add("POST", ROOT + "/logout-everywhere", account, self._everywhere, everywhere)

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response({"accounts": [a.as_json() for a in self._accounts.all()]})

    async def _delete(self, request: web.Request) -> web.Response:
        account = self._accounts.get(int(request.match_info["account"]))
        if account is None:
            raise web.HTTPNotFound(text="no such account")
        if account.role == OWNER:
            raise web.HTTPConflict(text="the server's owner stays")
        await self._remove_cameras(account.id)
        await self._log_out(account.id)
        await self._accounts.remove(account.id)
        await self._tokens.load()
        await self._remove_cameras(account.id)  # that were added meanwhile
        await self._accounts.scrub()
        return web.Response(status=204)

    async def _remove_cameras(self, account: int) -> None:
        for camera in [c for c in self._cameras.all() if c.account == account]:
            await self._cameras.remove(camera.name)

    async def _invite(self, request: web.Request) -> web.Response:
        wanted: shapes.Invitation = await body(request, shapes.Invitation)
        who = asking(request)
        if wanted.camera is None and (who.role != OWNER or who.camera):
            raise web.HTTPForbidden(text="only the server's owner may")
        if wanted.camera is not None:
            camera = self._cameras.get(wanted.camera)
            if camera is None or not self._accounts.may(who, camera, manage=True):
                raise web.HTTPNotFound(text="no such camera of yours")
        try:
            code = await self._accounts.invite(who, wanted.camera or "")
        except ValueError as e:
            raise web.HTTPConflict(text=str(e)) from None
        return web.json_response({"url": f"{self._base(request)}/invite/{code}"}, status=201)

    async def _viewers(self, request: web.Request) -> web.Response:
        viewers = self._accounts.viewers(request.match_info["camera"])
        return web.json_response({"accounts": [a.as_json() for a in viewers]})

    async def _revoke(self, request: web.Request) -> web.Response:
        account, camera = int(request.match_info["account"]), request.match_info["camera"]
        if account not in {a.id for a in self._accounts.viewers(camera)}:
            raise web.HTTPNotFound(text="no such viewer of this camera")
        await self._accounts.revoke(account, camera)
        await self._log_out(account)
        return web.Response(status=204)

    async def _list_tokens(self, request: web.Request) -> web.Response:
        return web.json_response({"tokens": [t.as_json() for t in self._tokens.of(asking(request).account)]})

    async def _new_token(self, request: web.Request) -> web.Response:
        wanted: shapes.NewToken = await body(request, shapes.NewToken)
        who = asking(request)
        if wanted.camera is not None:
            camera = self._cameras.get(wanted.camera)
            if camera is None or not self._accounts.may(who, camera):
                raise web.HTTPNotFound(text="no such camera")
        try:
            token, secret = await self._tokens.create(
                who, wanted.name, wanted.scope, wanted.camera or "", wanted.life_s
            )
        except PermissionError as e:
            raise web.HTTPForbidden(text=str(e)) from None
        except ValueError as e:
            raise web.HTTPConflict(text=str(e)) from None
        return web.json_response(token.as_json() | {"token": secret}, status=201)

    async def _revoke_token(self, request: web.Request) -> web.Response:
        if not await self._tokens.revoke(int(request.match_info["token"]), asking(request).account):
            raise web.HTTPNotFound(text="no such token")
        return web.Response(status=204)

    async def _password(self, request: web.Request) -> web.Response:
        wanted: shapes.NewPassword = await body(request, shapes.NewPassword)
        account, address = asking(request).account, request.remote or ""
        if wait_s := self._throttle.wait_s(address):
            raise web.HTTPTooManyRequests(text="too many wrong passwords", headers={"Retry-After": str(wait_s)})
        self._throttle.failed(address)
        try:
            changed = await self._accounts.change_password(account, wanted.old, wanted.new)
        except ValueError as e:
            raise web.HTTPBadRequest(text=str(e)) from None
        if not changed:
            raise web.HTTPForbidden(text="That is not your password.")
        self._throttle.succeeded(address)
        await self._log_out(account)
        return web.Response(status=204)

    async def _everywhere(self, request: web.Request) -> web.Response:
        await self._log_out(asking(request).account)
        return web.Response(status=204)
