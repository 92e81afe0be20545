"""No secret is found where it does not belong: logs at debug, the process list, the store, other answers."""

from __future__ import annotations

import asyncio
import ftplib
import io
import json
import re
import stat
from pathlib import Path

import aiohttp

from tests.e2e.product import Process
from tests.server.people import PASSWORD, basic
from tests.server.pictures import jpeg


async def test_canaries(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir(mode=0o755)  # as somebody made it who thought of nothing
    config = tmp_path / "server.yaml"
    config.write_text(f"server:\n  store: {store}\n  port: 0\n  ftp_port: 0\nlog:\n  level: debug\n")
    config.chmod(0o600)
    process = await Process.start("server", "-c", str(config))
    try:
        link = (await process.said(r"(http://\S+/setup/\S+)"))[1]
        base = link.split("/setup/")[0]
        secrets = [link.rsplit("/", 1)[1], PASSWORD]
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            await http.post(link, data={"password": PASSWORD, "again": PASSWORD})
            await http.post(f"{base}/login", data={"user": "owner", "password": PASSWORD + "x"})
            secrets += [PASSWORD + "x", *(c.value for c in http.cookie_jar)]
            camera = {"name": "porch", "pull": "http://admin:canary-pull-7@127.0.0.1:9/video.cgi"}
            made = await (await http.post(f"{base}/api/v1/cameras", json=camera)).json()
            token = await (await http.post(f"{base}/api/v1/tokens", json={"name": "t"})).json()
            invitation = await (await http.post(f"{base}/api/v1/invitations", json={})).json()
            secrets += [made["token"], made["password"], made["pairing"], token["token"]]
            secrets += [made["view_url"].rsplit("/", 1)[1], invitation["url"].rsplit("/", 1)[1]]
            await http.get(made["view_url"])
            await http.get(invitation["url"])
            await http.get(f"{base}/api/v1/cameras", headers={"Authorization": f"Bearer {token['token']}"})
            for headers in (basic(made["login"], made["password"]), basic("x", "canary-wrong-8"), {}):
                await http.put(made["upload_url"] + "x.jpg", data=jpeg(1), headers=headers)
            answers = [
                await (await http.get(f"{base}/api/v1/{p}")).text()
                for p in ("cameras/porch", "tokens", "shares", "accounts", "openapi.json")
            ]
            head = 'Content-Disposition: form-data; name="f"; filename=";canary-name-6;.jpg"'
            form = f"--B\r\n{head}\r\n\r\n".encode() + jpeg(2) + b"\r\n--B--\r\n"
            kind = {"Content-Type": "multipart/form-data; boundary=B"}
            await http.post(made["upload_url"], data=form, headers=basic(made["login"], made["password"]) | kind)
        await asyncio.to_thread(_upload, made["ftp"])
        await asyncio.sleep(1)
        secrets += ["canary-pull-7", "canary-wrong-8", "canary-ftp-9", "canary-name-6"]
        cmdline = Path(f"/proc/{process.process.pid}/cmdline").read_text()
        environment = Path(f"/proc/{process.process.pid}/environ").read_text()
        said = [line for line in process.out + process.err if link not in line]
        places = {"log": "\n".join(said), "ps": cmdline + environment, "answers": "\n".join(answers)}
        found = [(place, s) for place, text in places.items() for s in secrets if s in text]
        assert found == [], [line for line in said if any(s in line for s in secrets)]
        assert len(said) > 3 and "DEBUG" in places["log"], "nothing was logged: the test proves nothing"
        data = b"".join(p.read_bytes() for p in store.rglob("*") if p.is_file())
        in_store = [s for s in secrets if s.encode() in data]
        assert in_store == ["canary-pull-7"], "only what the server itself must say to a camera is kept in clear"
        open_to_others = [p.name for p in store.iterdir() if stat.S_IMODE(p.stat().st_mode) & 0o077]
        assert open_to_others in ([], ["server.lock"]), "empty, and nobody's secret"
        assert re.search(r'"pull": "http://127', json.dumps(json.loads(answers[0])))
    finally:
        process.process.terminate()
        await process.process.wait()


def _upload(point: dict[str, str]) -> None:
    with ftplib.FTP(timeout=20) as client:
        client.connect(point["host"], int(point["port"]))
        try:
            client.login(point["user"], "canary-ftp-9")
        except ftplib.error_perm:
            pass
        client.login(point["user"], point["password"])
        client.storbinary("STOR x.jpg", io.BytesIO(jpeg(2)))
