"""Who asks, and what they may: what `access` asks of the rest of the server."""

from __future__ import annotations

from aiohttp import web

from agent.server.accounts import Accounts, Who
from agent.server.cameras import Cameras
from agent.server.tokens import Tokens
from agent.server.web.pages import Pages


class Allowed:
    """Who asks is told by an API token or by a browser's session; what they may, by their account."""

    def __init__(self, pages: Pages, tokens: Tokens, cameras: Cameras, accounts: Accounts) -> None:
        self._pages = pages
        self._tokens = tokens
        self._cameras = cameras
        self._accounts = accounts

    def who(self, request: web.Request) -> Who | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._tokens.find(token.strip())
        return self._pages.who(request)

    def may(self, who: Who, camera: str, manage: bool) -> bool:
        found = self._cameras.get(camera)
        return found is not None and self._accounts.may(who, found, manage)
