"""The registry of virtual cameras: add, change, end, erase; who may upload; sessions that end with their camera."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from agent.clock import Clock
from agent.errors import UsageError
from agent.frame import Frame
from agent.server.archive import NAME, Archive, refuse_blank
from agent.server.camera import Camera, CameraSettings, nothing
from agent.server.eventlog import last_seen
from agent.server.hashed import sha
from agent.server.index import Below, From, Rows
from agent.server.index.rows import CameraRow, Erasing, Fact, Gone
from agent.server.keys import Keys, letters, new_id, new_keys
from agent.server.news import News

__all__ = ["Camera", "CameraSettings", "Cameras", "Keys"]

log = logging.getLogger(__name__)

GONE_NS = 30 * 86_400_000_000_000
TIDY_NS = 3_600_000_000_000
MAX_CAMERAS = 20_000
REVOKED, DELETED = 4401, 4410

Close = Callable[[int, str], object]

SPREAD_EACH_S, SPREAD_MOST_S = 0.15, 30.0


class Cameras:
    """Tokens are 256 random bits, passwords 100; both are kept only as SHA-256."""

    def __init__(self, archive: Archive, news: News, clock: Clock) -> None:
        self._archive = archive
        self._news = news
        self._clock = clock
        self._cameras: dict[str, Camera] = {}
        self._rows: dict[str, CameraRow] = {}
        self._logins: dict[str, str] = {}
        self._salt = b""
        self._closers: dict[str, set[Close]] = {}
        self._unerased: set[str] = set()  # deleted, and something of them may be left
        self._erasures: dict[str, asyncio.Task[None]] = {}
        self._seen: int | None = None
        self._tidied_ns = 0
        self._changing = asyncio.Lock()
        self.on_change: Callable[[Camera], object] = lambda camera: None
        self.on_foreign: Callable[[], Awaitable[None]] = nothing
        self.remembered: Callable[[str], Awaitable[Frame | None]] = nothing  # a camera's newest picture in the archive

    async def load(self) -> None:
        """Read the registry; call once before use. Finishes what a crash left of an erasure.

        Raises DamagedError for a new index beside recordings.
        """

        def run(rows: Rows) -> tuple[list[tuple[CameraRow, tuple[int, int]]], list[Erasing], bytes]:
            if (salt := rows.facts.get(key="salt")) is None:
                refuse_blank(rows, self._archive.root)
                salt = rows.facts.add(Fact("salt", secrets.token_bytes(16)))
            there = [(row, last_seen(rows, row.name)) for row in rows.cameras.find()]
            return there, rows.erasing.find(), salt.value

        there, erasing, self._salt = await self._archive.index.write(run)
        for row, (since_ns, frame_ns) in there:
            camera = self._take(row)
            camera.since_ns, camera.last_frame_ns = since_ns, frame_ns
        self._unerased = {left.camera for left in erasing}
        await self._archive.finish_erasures()
        await self.end_due()
        for name in list(self._unerased):
            await self._erased(name)

    @property
    def store_id(self) -> str:
        """A few characters that tell this store from others; not a secret."""
        return hashlib.sha256(b"id" + self._salt).hexdigest()[:8]

    def all(self) -> list[Camera]:
        return [self._cameras[name] for name in sorted(self._cameras)]

    def spread_s(self) -> float:
        """Over how long the agents of this server should spread their return after it went away."""
        return min(SPREAD_MOST_S, SPREAD_EACH_S * len(self._cameras))

    def get(self, name: str) -> Camera | None:
        return self._cameras.get(name)

    def as_json(self, camera: Camera) -> dict[str, Any]:
        return camera.as_json(self._clock.wall_ns())

    async def add(
        self, name: str, account: int = 1, settings: CameraSettings | None = None, *, renew: bool = True
    ) -> Keys:
        """Make the camera, or (`renew`) give it new keys; the answer has them, they are nowhere else.

        Where another account has a camera of that name, this one's gets a few letters more. Raises UsageError for
        a name that is not 1 to 63 of a-z, 0-9 and '-', for one that is taken and not to be renewed, and for one that
        another process makes or deletes at this moment.
        """
        _check_name(name)
        await self._erased(name)
        async with self._changing:
            if (there := self._cameras.get(name)) is not None:
                if there.account != account:
                    name = f"{name[:56]}-{letters(6)}"
                elif not renew:
                    raise UsageError(f"there is a camera '{name}' already")
                elif settings is None:
                    settings = there.settings
            if name not in self._cameras and len(self._cameras) >= MAX_CAMERAS:
                raise UsageError(f"this server has {MAX_CAMERAS} cameras already")
            keys = new_keys(name)
            row = self._rows.get(name) or CameraRow(name, account, "", None, None, "", camera_id=new_id())
            row = replace(row, login=keys.login, settings=(settings or CameraSettings()).dumps())
            if not await self._put(replace(row, token_hash=sha(keys.token), password_hash=sha(keys.password))):
                raise UsageError(f"another process has just added or deleted '{name}'; try again")
        return keys

    async def local(self, name: str) -> Camera:
        """The camera of an agent in this process, made when it is new; nobody can upload to it."""
        _check_name(name)
        await self._erased(name)
        async with self._changing:
            new = CameraRow(name, 1, "", None, None, "{}", camera_id=new_id())
            if name not in self._cameras and not await self._put(new):
                raise UsageError(f"another process has just added '{name}'; try again")
            return self._cameras[name]

    async def renew_token(self, name: str) -> str | None:
        """Another token for an agent (pairing); the old one's sessions end. None when the camera is not there."""
        async with self._changing:
            if (row := self._rows.get(name)) is None or row.password_hash is None:
                return None
            token = secrets.token_urlsafe(32)
            return token if await self._put(replace(row, token_hash=sha(token))) else None

    async def change(self, name: str, settings: CameraSettings) -> None:
        """Other settings; a no-op for a camera that is gone."""
        async with self._changing:
            if (row := self._rows.get(name)) is not None:
                await self._put(replace(row, settings=settings.dumps(), pull_error=""))
        await self.end_due()

    async def note_pull(self, camera: Camera, error: str) -> None:
        """Why its pictures cannot be fetched, "" when they can; also for commands in other processes."""
        async with self._changing:
            row = self._rows.get(camera.name)
            if row is None or camera.gone or row.pull_error == error:
                return

            def run(rows: Rows) -> None:
                # It may have been deleted by another process just now: nothing of it is written again.
                if (there := rows.cameras.get(name=row.name)) is not None and there.camera_id == row.camera_id:
                    rows.cameras.change(there, pull_error=error)

            await self._archive.index.write(run)
            self._adopt(replace(row, pull_error=error))

    async def _put(self, row: CameraRow) -> bool:
        """False, and nothing done: another process has made or deleted it, which was not noticed yet."""
        known, row = self._rows.get(row.name), replace(row, created_ns=row.created_ns or self._clock.wall_ns())

        def run(rows: Rows) -> bool:
            there = rows.cameras.get(name=row.name)
            if (there and there.camera_id) != (known and known.camera_id):
                return False
            rows.cameras.put(row)
            return True

        if done := await self._archive.index.write(run):
            self._adopt(row)
        return done

    def _adopt(self, row: CameraRow) -> None:
        """The camera is in the index like this: so it is here."""
        old = self._rows.get(row.name)
        if old is not None and (old.token_hash, old.password_hash) != (row.token_hash, row.password_hash):
            self._close_sessions(row.name, REVOKED, "token revoked")
        camera = self._take(row)
        self._news.tell("camera", self.as_json(camera))
        self.on_change(camera)

    def _take(self, row: CameraRow) -> Camera:
        if (old := self._rows.get(row.name)) is not None:
            self._logins.pop(old.login, None)
        try:
            settings = CameraSettings.loads(row.settings)
        except ValueError:
            settings = CameraSettings()
        camera = self._cameras.setdefault(row.name, Camera(row.name))
        camera.id, camera.account, camera.login, camera.settings = row.camera_id, row.account, row.login, settings
        camera.pull_error = row.pull_error
        camera.remembered = lambda: self.remembered(row.name)
        self._rows[row.name] = row
        if row.login:
            self._logins[row.login] = row.name
        return camera

    async def remove(self, name: str) -> None:
        """End its sessions, erase its rows and files; only salted hashes of its keys stay, for 30 days."""
        await self._dismiss(name)
        await self._erased(name)

    async def _dismiss(self, name: str) -> None:
        """It is no more, whatever of it is still to be erased."""
        async with self._changing:
            if (row := self._rows.get(name)) is None:
                return
            self._archive.ballast.drop_if_full()  # what makes room needs some first
            await self._archive.index.write(lambda rows: self._forget(rows, row, erase=True))
            self._unerased.add(name)
            self._drop(name)

    async def _erased(self, name: str) -> None:
        """Erase what is left of a deleted camera; who comes while that goes on waits for it. Raises as the archive."""
        while name in self._unerased:
            await asyncio.shield(self._erasing(name))

    def _erasing(self, name: str) -> asyncio.Task[None]:
        def ended(task: asyncio.Task[None]) -> None:
            del self._erasures[name]
            if not task.cancelled() and (e := task.exception()) is not None:
                log.warning("a deleted camera is not erased yet: %s", e)

        if name not in self._erasures:
            self._erasures[name] = asyncio.create_task(self._erase(name))
            self._erasures[name].add_done_callback(ended)
        return self._erasures[name]

    async def _erase(self, name: str) -> None:
        await self._archive.erase(name)
        self._unerased.discard(name)

    async def close(self) -> None:
        """Leave erasures that go on for the next start."""
        for task in list(self._erasures.values()):
            task.cancel()
        await asyncio.gather(*self._erasures.values(), return_exceptions=True)

    async def end_due(self) -> None:
        """End the cameras whose time is over, also while the server was down: erase them, or end their ways in.

        Begins to erase also what is left of others.
        """
        now = self._clock.wall_ns()
        if abs(now - self._tidied_ns) >= TIDY_NS:
            await self._archive.index.write(lambda rows: rows.gone.remove(at_ns=Below(now - GONE_NS)))
            self._tidied_ns = now
        over = [c for c in self._cameras.values() if c.ended(now)]
        over = [c for c in over if c.settings.at_end == "burn" or _hashes(self._rows[c.name])]
        if over:
            await self.refresh()  # another process may have given one more time
        for camera in [c for c in over if c.ended(now) and not c.gone]:
            if camera.settings.at_end == "burn":
                await self._dismiss(camera.name)
                continue
            async with self._changing:
                if (row := self._rows.get(camera.name)) is None or not _hashes(row):
                    continue
                await self._archive.index.write(partial(self._forget, row=row, erase=False))
                self._close_sessions(camera.name, DELETED, "camera ended")
                self._adopt(_keyless(row))
        for name in self._unerased:
            self._erasing(name)

    def _forget(self, rows: Rows, row: CameraRow, *, erase: bool) -> None:
        now = self._clock.wall_ns()
        there = rows.cameras.get(name=row.name)
        if there is None or there.camera_id != row.camera_id:
            return  # another process has deleted it, and may have made another one since
        for hash_ in map(self._salted, _hashes(row)):
            rows.gone.put(Gone(hash_, now))
        if not erase:
            rows.cameras.put(_keyless(there))
            return
        rows.cameras.remove(name=row.name)
        rows.erasing.put(Erasing(row.name))

    def _drop(self, name: str) -> None:
        camera = self._cameras.pop(name)
        camera.delete()
        self._logins.pop(self._rows.pop(name).login, None)
        self._close_sessions(name, DELETED, "camera deleted")
        self._news.tell("camera", {"name": name, "state": "deleted"})
        self.on_change(camera)

    async def refresh(self) -> None:
        """Notice what another process (`virtual add`, `virtual delete`) did to the index; `on_foreign` does the rest.

        Cheap when nobody did anything. What raises on the way is noticed again the next time.
        """
        async with self._changing:
            version = await self._archive.index.foreign_version()
            if version == self._seen:
                return
            known, erasing = await self._archive.index.read(lambda rows: (rows.cameras.find(), rows.erasing.find()))
            self._unerased |= {left.camera for left in erasing}
            there = {row.name: row for row in known}
            for name, known_row in list(self._rows.items()):
                if name not in there or there[name].camera_id != known_row.camera_id:
                    self._drop(name)
            for name, row in there.items():
                if self._rows.get(name) != row:
                    self._adopt(row)
            await self.on_foreign()
            self._seen = version

    def _salted(self, token_hash: bytes) -> bytes:
        return hashlib.sha256(self._salt + token_hash).digest()

    async def check(self, name: str, token: str) -> int:
        """The HTTP status for an upload to `name` with this token or password: 200, 401, 404 or 410.

        404 is for who has another camera's: strangers are not told which cameras there are, nor is a neighbour.
        Who is not known is looked for in the index, which may raise. Another process may have made the camera, and
        deleted cameras' keys are only there: they would be all that grows with the cameras that come and go.
        """
        given = sha(token)
        if self._opens(name, given):
            return 200
        await self.refresh()
        if self._opens(name, given):
            return 200
        key, since = self._salted(given), From(self._clock.wall_ns() - GONE_NS)
        if await self._archive.index.read(lambda rows: rows.gone.count(hash=key, at_ns=since)):
            return 410
        return 404 if any(given in _hashes(other) for other in self._rows.values()) else 401

    def _opens(self, name: str, given: bytes) -> bool:
        row = self._rows.get(name)
        return row is not None and any(hmac.compare_digest(h, given) for h in _hashes(row))

    def login(self, login: str, password: str) -> Camera | None:
        """The camera that this upload login is for; None when it is wrong or its camera is deleted."""
        name = self._logins.get(login) or (login if login in self._cameras else "")
        return self._cameras[name] if name and self._opens(name, sha(password)) else None

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
            self._news.tell("camera", self.as_json(camera))

    def _close_sessions(self, name: str, code: int, reason: str) -> None:
        for close in list(self._closers.get(name, ())):
            close(code, reason)

    def close_all(self, code: int, reason: str) -> None:
        for name in list(self._closers):
            self._close_sessions(name, code, reason)


def _hashes(row: CameraRow) -> list[bytes]:
    return [h for h in (row.token_hash, row.password_hash) if h is not None]


def _keyless(row: CameraRow) -> CameraRow:
    return replace(row, token_hash=None, password_hash=None, login="")


def _check_name(name: str) -> None:
    if not NAME.match(name):
        raise UsageError(f"'{name[:80]}' cannot name a camera: 1 to 63 of a-z, 0-9 and '-'")
