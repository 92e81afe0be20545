"""A HEAD ends with its head, wherever it goes: also where a GET is endless."""

from __future__ import annotations

import asyncio
import re

import aiohttp

from tests.server.conftest import Start
from tests.server.people import basic, owner
from tests.server.pictures import jpeg


async def test_a_head_ends_on_every_route(start: Start) -> None:
    server = await start()
    async with owner(server) as who:
        made = await who.add("porch")
        async with aiohttp.ClientSession(headers=basic(made["login"], made["password"])) as http:
            assert (await http.put(made["upload_url"] + "a.jpg", data=jpeg(1))).status == 201
        [event] = (await who.ask("GET", "/api/v1/events"))["events"]
        live = await who.ask("POST", "/api/v1/shares", 201, json={"camera": "porch"})
        past = await who.ask("POST", "/api/v1/shares", 201, json={"event": event["id"]})
        [cookie] = list(who.http.cookie_jar)

        together = asyncio.Semaphore(16)

        async def head(path: str) -> tuple[str, bytes]:
            async with together:
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                return path, await ask(path, reader, writer)

        async def ask(path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
            lines = f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie.key}={cookie.value}\r\n"
            writer.write(f"{lines}Connection: close\r\n\r\n".encode())
            said = await reader.read()
            writer.close()
            assert said.startswith(b"HTTP/1.1 "), path
            return said.partition(b"\r\n\r\n")[2]

        paths = {"/nowhere", "/api/v1/nowhere", "/%00", "/api/v1/cameras/nobody"}
        for method, path in server.routes.declared:
            if method == "GET":
                path = path.replace("{camera}", "porch").replace(r"{id:\d{1,15}}", str(event["id"]))
                for share in (live, past):
                    code = share["url"].rpartition("/")[2]
                    paths.add(re.sub(r"\{(?:[^{}]|\{[^{}]*\})*\}", "1", path.replace("{code}", code)))
        assert {"/api/v1/news", "/api/v1/cameras/porch/live.mjpeg"} <= paths
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*map(head, sorted(paths)))
        assert [(path, body) for path, body in answers if body] == []
