"""People and programs at a server's door, for tests: set-up, invitations, API calls."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from agent.server.app import CameraServer

PASSWORD = "correct horse battery"


def basic(login: str, password: str) -> dict[str, str]:
    """The header that cameras send."""
    return {"Authorization": "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()}


class Person:
    """Somebody's browser, or a program with a token."""

    def __init__(self, server: CameraServer, http: aiohttp.ClientSession) -> None:
        self.base = server.urls()[0].rstrip("/")
        self.http = http

    async def ask(self, method: str, path: str, expect: int = 200, **more: Any) -> Any:
        """The JSON of the answer (None when it has none); fails when the status is another."""
        url = path if path.startswith("http") else self.base + path
        async with self.http.request(method, url, **more) as answer:
            text = await answer.text(errors="replace")
            assert answer.status == expect, f"{method} {path}: {answer.status} {text[:300]}"
            return await answer.json(content_type=None) if "json" in answer.content_type else None

    async def add(self, name: str, **settings: Any) -> Any:
        return await self.ask("POST", "/api/v1/cameras", 201, json={"name": name} | settings)


@asynccontextmanager
async def person(server: CameraServer, token: str = "") -> AsyncIterator[Person]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), headers=headers) as http:
        yield Person(server, http)


@asynccontextmanager
async def owner(server: CameraServer) -> AsyncIterator[Person]:
    """Whoever opens the set-up link."""
    link = server.setup_link()
    assert link is not None
    async with person(server) as who:
        await who.ask("POST", link, data={"password": PASSWORD, "again": PASSWORD})
        yield who


@asynccontextmanager
async def invited(server: CameraServer, by: Person, name: str, camera: str | None = None) -> AsyncIterator[Person]:
    """Somebody new who took up an invitation."""
    link = await by.ask("POST", "/api/v1/invitations", 201, json={"camera": camera} if camera else {})
    async with person(server) as who:
        form = {"user": name, "password": PASSWORD, "again": PASSWORD}
        await who.ask("POST", link["url"], data=form)
        yield who
