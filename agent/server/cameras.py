"""The virtual cameras: their names, upload tokens, live frames and whether an agent is there."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Callable
from typing import Any

from agent.clock import Clock
from agent.errors import UsageError
from agent.frame import Frame
from agent.hub import Hub
from agent.media.wire import pack_live
from agent.server.archive import NAME, Archive
from agent.server.index import Tx
from agent.server.news import News

GONE_NS = 30 * 86_400_000_000_000
AWAY_NS = 10_000_000_000

PUT = "INSERT INTO cameras VALUES (?,?,?) ON CONFLICT (name) DO UPDATE SET token_hash=excluded.token_hash"

Close = Callable[[int, str], object]


class Camera:
    """One virtual camera: `hub` carries its live frames; the rest is what people want to know of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.hub = Hub()
        self.sessions = 0
        self.since_ns = 0
        self.last_frame_ns = 0
        self.frames = 0
        self.items = 0
        self._packed: tuple[Frame, bytes] | None = None

    @property
    def connected(self) -> bool:
        return self.sessions > 0

    def publish(self, frame: Frame) -> None:
        self.frames += 1
        self.last_frame_ns = max(self.last_frame_ns, frame.wall_ns)
        self.hub.publish(frame)

    def message(self, frame: Frame) -> bytes:
        """The frame as a LIVE message, made once for all viewers."""
        if self._packed is None or self._packed[0] is not frame:
            self._packed = (frame, pack_live(frame))
        return self._packed[1]

    def as_json(self) -> dict[str, Any]:
        state = "up" if self.connected else "away" if self.since_ns else "waiting"
        return {
            "name": self.name,
            "state": state,
            "since_ms": self.since_ns / 1e6,
            "last_frame_ms": self.last_frame_ns / 1e6,
            "viewers": self.hub.readers,
        }


class Cameras:
    """The registry. Tokens are 256 random bits, kept only as SHA-256."""

    def __init__(self, archive: Archive, news: News, clock: Clock) -> None:
        self._archive = archive
        self._news = news
        self._clock = clock
        self._cameras: dict[str, Camera] = {}
        self._tokens: dict[str, bytes | None] = {}
        self._gone: set[bytes] = set()
        self._salt = b""
        self._closers: dict[str, set[Close]] = {}
        self._changing = asyncio.Lock()

    async def load(self) -> None:
        """Read the registry; call once before use."""
        now = self._clock.wall_ns()

        def run(tx: Tx) -> tuple[list[sqlite3.Row], list[sqlite3.Row], bytes]:
            tx.conn.execute("INSERT OR IGNORE INTO meta VALUES ('salt', ?)", (secrets.token_bytes(16),))
            tx.conn.execute("DELETE FROM gone WHERE at_ns < ?", (now - GONE_NS,))
            salt: bytes = tx.conn.execute("SELECT value FROM meta WHERE key='salt'").fetchone()[0]
            cameras = tx.conn.execute("SELECT * FROM cameras ORDER BY name").fetchall()
            return cameras, tx.conn.execute("SELECT hash FROM gone").fetchall(), salt

        cameras, gone, self._salt = await self._archive.index.write(run)
        for row in cameras:
            self._cameras[row["name"]] = Camera(row["name"])
            self._tokens[row["name"]] = row["token_hash"]
        self._gone = {row["hash"] for row in gone}

    @property
    def store_id(self) -> str:
        """A few characters that tell this store from others; not a secret."""
        return hashlib.sha256(b"id" + self._salt).hexdigest()[:8]

    def all(self) -> list[Camera]:
        return [self._cameras[name] for name in sorted(self._cameras)]

    def get(self, name: str) -> Camera | None:
        return self._cameras.get(name)

    async def add(self, name: str) -> str:
        """Make the camera, or give it a new token; the answer is the token, which is nowhere else.

        Raises UsageError for a name that is not 1 to 63 of a-z, 0-9 and '-'.
        """
        token = secrets.token_urlsafe(32)
        await self._put(name, _hash(token))
        return token

    async def local(self, name: str) -> Camera:
        """The camera of an agent in this process, made when it is new; nobody can upload to it."""
        if name not in self._cameras:
            await self._put(name, None)
        return self._cameras[name]

    async def _put(self, name: str, token_hash: bytes | None) -> None:
        if not NAME.match(name):
            raise UsageError(f"'{name[:80]}' cannot name a camera: 1 to 63 of a-z, 0-9 and '-'")
        async with self._changing:
            row = (name, token_hash, self._clock.wall_ns())
            await self._archive.index.write(lambda tx: tx.conn.execute(PUT, row).rowcount)
            self._adopt(name, token_hash)

    def _adopt(self, name: str, token_hash: bytes | None) -> None:
        """The camera is in the index, with this token: so it is here."""
        self._close_sessions(name, 4401, "token revoked")
        self._tokens[name] = token_hash
        if name not in self._cameras:
            self._cameras[name] = Camera(name)
            self._news.tell("camera", self._cameras[name].as_json())

    async def remove(self, name: str) -> None:
        """End its sessions, erase its rows and files; only a salted hash of its token stays, for 30 days."""
        async with self._changing:
            if name not in self._cameras:
                return
            token_hash = self._tokens[name]
            now = self._clock.wall_ns()

            def run(tx: Tx) -> None:
                tx.conn.execute("DELETE FROM cameras WHERE name=?", (name,))
                if token_hash is not None:
                    tx.conn.execute("INSERT OR REPLACE INTO gone VALUES (?,?)", (self._salted(token_hash), now))

            await self._archive.index.write(run)
            if token_hash is not None:
                self._gone.add(self._salted(token_hash))
            self._drop(name)
            await self._archive.erase(name)

    def _drop(self, name: str) -> None:
        del self._tokens[name], self._cameras[name]
        self._close_sessions(name, 4410, "camera deleted")
        self._news.tell("camera", {"name": name, "state": "deleted"})

    async def refresh(self) -> None:
        """Notice what another process (`virtual add`, `virtual delete`) did to the index."""

        def read(conn: sqlite3.Connection) -> tuple[list[sqlite3.Row], list[sqlite3.Row]]:
            cameras = conn.execute("SELECT name, token_hash FROM cameras").fetchall()
            return cameras, conn.execute("SELECT hash FROM gone").fetchall()

        async with self._changing:
            rows, gone = await self._archive.index.read(read)
            self._gone = {row["hash"] for row in gone}
            there = {row["name"]: row["token_hash"] for row in rows}
            for name in [n for n in self._cameras if n not in there]:
                self._drop(name)
            for name, token_hash in there.items():
                if name not in self._cameras or self._tokens[name] != token_hash:
                    self._adopt(name, token_hash)

    def _salted(self, token_hash: bytes) -> bytes:
        return hashlib.sha256(self._salt + token_hash).digest()

    def check(self, name: str, token: str) -> int:
        """The HTTP status for an upload to `name` with this token: 200, 401, 404 or 410."""
        given = _hash(token)
        if self._salted(given) in self._gone:
            return 410
        if name not in self._cameras:
            return 404
        expected = self._tokens[name]
        return 200 if expected is not None and hmac.compare_digest(expected, given) else 401

    def remember(self, camera: Camera, close: Close) -> None:
        """`close(code, reason)` will be called when whatever has to do with the camera must end."""
        self._closers.setdefault(camera.name, set()).add(close)

    def forget(self, camera: Camera, close: Close) -> None:
        closers = self._closers.get(camera.name, set())
        closers.discard(close)
        if not closers:
            self._closers.pop(camera.name, None)

    def came(self, camera: Camera, close: Close | None = None) -> None:
        """A session of the camera began; `close(code, reason)` will be called to end it."""
        camera.sessions += 1
        if close is not None:
            self.remember(camera, close)
        if camera.sessions == 1:
            self._turn(camera)

    def went(self, camera: Camera, close: Close | None = None) -> None:
        camera.sessions -= 1
        if close is not None:
            self.forget(camera, close)
        if camera.sessions == 0:
            self._turn(camera)

    def _turn(self, camera: Camera) -> None:
        camera.since_ns = self._clock.wall_ns()
        if camera.name in self._cameras:
            self._news.tell("camera", camera.as_json())

    def _close_sessions(self, name: str, code: int, reason: str) -> None:
        for close in list(self._closers.get(name, ())):
            close(code, reason)

    def close_all(self, code: int, reason: str) -> None:
        for name in list(self._closers):
            self._close_sessions(name, code, reason)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
