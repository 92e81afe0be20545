"""WebDAV, plain PUT and forms, answered by real servers of other people (and aiohttp for forms)."""

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from aiohttp import web

from tests.sinks.programs import nginx

USER, PASSWORD = "porchcam", "canary-dav-Pa55"
LOGIN = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@contextlib.contextmanager
def nginx_dav(folder: Path, full_path: bool) -> Iterator[tuple[int, Path]]:
    """nginx's own dav module with a login; without `full_path` folders have to be made first."""
    root = folder / "dav"
    root.mkdir(parents=True)
    (folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    location = (
        f"      root {root};\n      dav_methods PUT DELETE MKCOL;\n"
        f"      create_full_put_path {'on' if full_path else 'off'};\n      client_max_body_size 0;\n"
        f"      auth_basic dav;\n      auth_basic_user_file {folder}/users;"
    )
    with nginx(folder / "nginx", location) as port:
        yield port, root


@contextlib.contextmanager
def wsgidav(root: Path) -> Iterator[int]:
    """WsgiDAV, which insists on folders."""
    from cheroot import wsgi
    from wsgidav.wsgidav_app import WsgiDAVApp

    root.mkdir(parents=True)
    app = WsgiDAVApp(
        {
            "provider_mapping": {"/": str(root)},
            "simple_dc": {"user_mapping": {"*": {USER: {"password": PASSWORD}}}},
            "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
            "verbose": 0,
        }
    )
    server = wsgi.Server(("127.0.0.1", 0), app, numthreads=4, timeout=5, shutdown_timeout=1)
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield int(server.bind_addr[1])
    finally:
        server.stop()
        thread.join()


class FormService:
    """Takes forms and keeps the files by their names."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.fields: list[dict[str, str]] = []
        self.keys: list[str] = []
        self.port = 0

    async def handle(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != LOGIN:
            return web.Response(status=401)
        if request.method != "POST":
            return web.Response(status=405)
        fields: dict[str, str] = {}
        name, data = "", b""
        async for part in await request.multipart():
            if part.filename:
                name, data = part.filename, bytes(await part.read())
                fields["content-type"] = part.headers["Content-Type"]
            else:
                fields[part.name] = await part.text()
        self.files[name] = data
        self.fields.append(fields)
        self.keys.append(request.headers["Idempotency-Key"])
        return web.Response(text="thanks")


@contextlib.asynccontextmanager
async def form_service() -> AsyncIterator[FormService]:
    service = FormService()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/upload", service.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service.port = int(runner.addresses[0][1])
    try:
        yield service
    finally:
        await runner.cleanup()
