"""The control socket: commands of this machine's user ask a running agent; one line of JSON each way."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.errors import AgentError, UsageError

log = logging.getLogger(__name__)

Answer = Callable[[dict[str, Any]], Any] | Callable[[dict[str, Any]], Awaitable[Any]]
SOCKETS = "agent-*.sock"
MAX_REQUEST_BYTES = 64 * 1024
ASK_S = 5.0


class Control:
    """Answers `{"do": NAME, …}` with `{"ok": …}` or `{"error": TEXT}`. Rooms add their own questions.

    An answer is given the request and returns what JSON can hold; its AgentError is told to who asks. Without a
    place for the socket the agent goes on without it and says so.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.path = (folder or runtime_folder()) / f"agent-{os.getpid()}.sock"
        self._answers: dict[str, Answer] = {}
        self._server: asyncio.Server | None = None

    def add(self, do: str, answer: Answer) -> None:
        self._answers[do] = answer

    async def start(self) -> None:
        try:
            try:
                await self._listen()
            except FileNotFoundError:  # an agent that ended just then took the folder along
                await self._listen()
        except OSError as e:
            log.warning("no control socket at %s: %s", self.path, e.strerror or e)

    async def _listen(self) -> None:
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _ours(folder):
            raise OSError(errno.EPERM, "the folder belongs to another user")
        for left in [self.path, *filter(_dead, folder.glob(SOCKETS))]:
            left.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self.path, limit=MAX_REQUEST_BYTES)
        self.path.chmod(0o600)

    async def close(self) -> None:
        """The socket goes, and its folder with the last one."""
        if self._server is not None:
            self._server.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
            if _ours(self.path.parent):
                self.path.parent.rmdir()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ASK_S):
                line = await reader.readline()
            answer = await self._reply(line)
            writer.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
            async with asyncio.timeout(ASK_S):
                await writer.drain()
        except (TimeoutError, OSError, ValueError):
            pass  # who asked has gone, or asks without end
        finally:
            writer.close()

    async def _reply(self, line: bytes) -> dict[str, Any]:
        try:
            body = json.loads(line)
            do = body["do"]
            answer = self._answers[do]
        except (ValueError, RecursionError, TypeError, KeyError):
            return {"error": f"expected a line of JSON with 'do': one of {', '.join(sorted(self._answers))}"}
        try:
            result = answer(body)
            return {"ok": await result if isinstance(result, Awaitable) else result}
        except AgentError as e:
            return {"error": str(e)}


def runtime_folder() -> Path:
    """Where sockets are: the service's runtime directory, the user's, or one below the temporary folder."""
    if folder := os.environ.get("RUNTIME_DIRECTORY"):
        return Path(folder.split(":")[0])
    if folder := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(folder) / "camera-agent"
    return Path(tempfile.gettempdir()) / f"camera-agent-{os.getuid()}"


def agents() -> list[Path]:
    """The sockets of agents that may be running, the service's first."""
    folders = dict.fromkeys((Path("/run/camera-agent"), runtime_folder()))
    return [path for folder in folders for path in sorted(folder.glob(SOCKETS))]


def _ours(folder: Path) -> bool:
    """In /tmp anybody may have made it before us."""
    return folder.stat().st_uid == os.getuid()


def _dead(path: Path) -> bool:
    """Was its agent killed?"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.setblocking(False)
        return s.connect_ex(str(path)) == errno.ECONNREFUSED


def ask(path: Path, do: str, timeout_s: float = ASK_S, **args: Any) -> Any:
    """What the agent at this socket answers. Raises ConnectionError when none listens, UsageError for its refusal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(timeout_s)
        try:
            s.connect(str(path))
            s.sendall(json.dumps({"do": do, **args}).encode() + b"\n")
            with s.makefile("rb") as f:
                body = json.loads(f.readline())
        except (OSError, ValueError) as e:
            why = e.strerror if isinstance(e, OSError) and e.strerror else e
            raise ConnectionError(f"{path}: no agent answers: {why}") from None
    if "error" in body:
        raise UsageError(str(body["error"]))
    return body["ok"]
