"""The product as its users run it: processes of the real command, and films for the simulated camera."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import cv2
import numpy as np

COMMAND = (sys.executable, "-m", "agent.cli")
ROOT = Path(__file__).parents[2]


class Process:
    """A running command; what it says is collected and can be waited for."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self._said = asyncio.Event()
        self._readers = [
            asyncio.create_task(self._read(process.stdout, self.out)),
            asyncio.create_task(self._read(process.stderr, self.err)),
        ]

    @classmethod
    async def start(cls, *args: str, env: dict[str, str] | None = None) -> Process:
        return cls(
            await asyncio.create_subprocess_exec(
                *COMMAND,
                *args,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=ROOT,
                env=os.environ | (env or {}),
            )
        )

    async def _read(self, stream: asyncio.StreamReader | None, lines: list[str]) -> None:
        assert stream is not None
        async for line in stream:
            lines.append(line.decode().rstrip("\n"))
            self._said.set()
        self._said.set()

    async def said(self, pattern: str, timeout_s: float = 60) -> re.Match[str]:
        """The first line of either stream that the pattern is found in."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    for line in (*self.out, *self.err):
                        if match := re.search(pattern, line):
                            return match
                    if self.process.returncode is not None and all(r.done() for r in self._readers):
                        raise AssertionError(f"ended ({self.process.returncode}) without '{pattern}':\n{self.text()}")
                    self._said.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._said.wait(), 0.2)
        except TimeoutError:
            raise AssertionError(f"'{pattern}' was not said:\n{self.text()}") from None

    def text(self) -> str:
        return "\n".join((*self.out, *self.err))

    def events(self) -> list[dict]:
        """What `--json` printed."""
        return [json.loads(line) for line in self.out]

    async def end(self, with_signal: int | None = signal.SIGTERM, timeout_s: float = 60) -> int:
        """Signal it (None: just wait); the exit code."""
        if with_signal is not None and self.process.returncode is None:
            self.process.send_signal(with_signal)
        try:
            code = await asyncio.wait_for(self.process.wait(), timeout_s)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise AssertionError(f"did not end within {timeout_s} s:\n{self.text()}") from None
        await asyncio.gather(*self._readers)
        return code


@contextlib.asynccontextmanager
async def running(*args: str, env: dict[str, str] | None = None) -> AsyncIterator[Process]:
    """A command that is ended, whatever happens."""
    process = await Process.start(*args, env=env)
    try:
        yield process
    finally:
        if process.process.returncode is None:
            process.process.kill()
        await process.end(None)


async def command(*args: str, env: dict[str, str] | None = None, timeout_s: float = 90) -> Process:
    """A command that ends by itself."""
    process = await Process.start(*args, env=env)
    await process.end(None, timeout_s)
    return process


def film(folder: Path, *, still: int = 30, moving: int = 30, size: tuple[int, int] = (320, 240)) -> set[bytes]:
    """A folder of JPEGs, each different: noise for `still` pictures, then a bright block that walks through.

    Returns the SHA-256 of each.
    """
    rng = np.random.default_rng(7)
    width, height = size
    ground = cv2.resize(rng.integers(60, 120, (height // 8, width // 8), np.uint8), size)
    folder.mkdir()
    digests = set()
    for i in range(still + moving):
        picture = cv2.add(ground, rng.integers(0, 6, ground.shape, np.uint8))
        if i >= still:
            x = int((i - still) / moving * (width - 50))
            picture[80:200, x : x + 50] = 230
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
        (folder / f"{i:04d}.jpg").write_bytes(data)
        digests.add(hashlib.sha256(data).digest())
    return digests


def stored_frames(store: Path) -> dict[str, list[tuple[int, bytes]]]:
    """Camera → (index, JPEG) of every frame in the store's clips, straight from the files."""
    from agent.media import clip

    found: dict[str, list[tuple[int, bytes]]] = {}
    for path in sorted((store / "items").rglob("*.clip")):
        payload = path.read_bytes()
        camera = path.relative_to(store / "items").parts[0]
        found.setdefault(camera, []).extend(
            (e.index, payload[e.start : e.start + e.length]) for e in clip.entries(payload)
        )
    return found
