"""What a device needs to send to a virtual camera: every way in, as lines to paste."""

from __future__ import annotations

from typing import TypedDict
from urllib.parse import urlsplit

from agent.clock import Clock
from agent.server.hashed import sha
from agent.server.index import Index, Rows
from agent.server.index.rows import Link
from agent.server.keys import Keys, letters

PAIR_NS = 600_000_000_000


class FtpPoint(TypedDict):
    """Where a camera's FTP settings lead."""

    host: str
    port: int
    user: str
    password: str


class Handover(TypedDict):
    """Everything a device needs; secrets are in it, and it is shown once."""

    name: str
    token: str
    login: str
    password: str
    websocket_url: str
    upload_url: str
    mjpeg_url: str
    ftp: FtpPoint | None
    pairing: str
    view_url: str
    lines: dict[str, str]


def handover(keys: Keys, base: str, ftp_port: int | None, pairing: str, view: str, pin: str | None = None) -> Handover:
    """`base`: the server's address as devices reach it (`http://host:port`); `pairing`, `view`: code and path.

    `pin`: the key by which clients know the server, where nobody certifies it.
    """
    parts = urlsplit(base)
    host, scheme = parts.hostname or "localhost", "wss" if parts.scheme == "https" else "ws"
    camera = f"/v1/cam/{keys.name}"
    upload, mjpeg = f"{base}{camera}/picture/", f"{base}{camera}/mjpeg"
    login = f"{keys.login}:{keys.password}"
    curl = f"curl -k --pinnedpubkey {pin}" if pin else "curl"  # the key decides; -k: nobody else is asked
    to, where = f"{scheme}://:{keys.token}@{parts.netloc}", f"{pairing}@{base}"
    if pin:
        to, where = f"'{to}#{pin}'", f"'{where}#{pin}'"
    lines = {
        "agent": f"camera-agent run --source SOURCE --name {keys.name} --to {to}",
        "pair": f"camera-agent pair {where}",
        "curl": f"{curl} -u {login} -T picture.jpg {upload}",
        "ffmpeg": f"ffmpeg -i SOURCE -f mpjpeg -method POST {_with_login(base, login)}{camera}/mjpeg",
    }
    ftp: FtpPoint | None = None
    if ftp_port is not None:
        ftp = {"host": host, "port": ftp_port, "user": keys.login, "password": keys.password}
        curl += " --ssl-reqd" if pin else ""
        lines["ftp"] = f"{curl} -T picture.jpg ftp://{login}@{f'[{host}]' if ':' in host else host}:{ftp_port}/"
    return {
        "name": keys.name,
        "token": keys.token,
        "login": keys.login,
        "password": keys.password,
        "websocket_url": f"{scheme}://{parts.netloc}{camera}/stream",
        "upload_url": upload,
        "mjpeg_url": mjpeg,
        "ftp": ftp,
        "pairing": pairing,
        "view_url": base + view,
        "lines": lines,
    }


def _with_login(base: str, login: str) -> str:
    scheme, _, rest = base.partition("://")
    return f"{scheme}://{login}@{rest}"


class Pairing:
    """Codes that get an agent its token without anybody copying it: 50 bits, one use, ten minutes."""

    def __init__(self, index: Index, clock: Clock) -> None:
        self._index = index
        self._clock = clock

    async def create(self, camera: str) -> str:
        """The camera's only code: an earlier one opens nothing more. Raises ValueError when the camera is gone."""
        code = letters(10)
        link = Link(sha(code), "pair", 0, camera, self._clock.wall_ns() + PAIR_NS)

        def run(rows: Rows) -> None:
            if rows.cameras.get(name=camera) is None:
                raise ValueError("the camera was deleted meanwhile")
            rows.links.remove(kind="pair", camera=camera)
            rows.links.add(link)

        await self._index.write(run)
        return code

    async def redeem(self, code: str) -> str | None:
        """The camera's name, once."""
        now = self._clock.wall_ns()

        def run(rows: Rows) -> str | None:
            link = rows.links.get(hash=sha(code), kind="pair")
            rows.links.remove(hash=sha(code), kind="pair")
            return link.camera if link is not None and link.expires_ns > now else None

        return await self._index.write(run)
