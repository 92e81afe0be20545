"""Who asks, and what they may: what `access` asks of the rest of the server."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from agent.server.accounts import Accounts, Who
from agent.server.cameras import Cameras
from agent.server.ingest.admission import token_of
from agent.server.tokens import PREFIX, Tokens
from agent.server.web.pages import Pages


class Allowed:
    """Who asks is told by an API token or by a browser's session; what they may, by their account.

    A token comes as Bearer, or as the password of Basic: most programs that show cameras know nothing else.
    """

    def __init__(self, pages: Pages, tokens: Tokens, cameras: Cameras, accounts: Accounts) -> None:
        self._pages = pages
        self._tokens = tokens
        self._cameras = cameras
        self._accounts = accounts

    def who(self, request: web.Request) -> Who | None:
        return self.holder(request)()

    def holder(self, request: web.Request) -> Callable[[], Who | None]:
        given = request.headers.get("Authorization", "")
        token = token_of(given)
        # Other passwords of Basic are those of a proxy in front.
        if given[:7].lower() == "bearer " or token.startswith(PREFIX):
            return self._tokens.holder(token)
        return self._pages.holder(request)

    def may(self, who: Who, camera: str, manage: bool) -> bool:
        found = self._cameras.get(camera)
        return found is not None and self._accounts.may(who, found, manage)
