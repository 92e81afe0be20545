"""JPEGs, films and small raw HTTP servers for tests of everything that takes pictures in."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import cv2
import numpy as np

from agent.frame import Frame
from agent.sources import Publish, Source

Script = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def jpeg(number: int = 0, width: int = 64, height: int = 48, flags: list[int] | None = None) -> bytes:
    """A noisy picture, another one for each number."""
    image = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(".jpg", image, flags or [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def jpegs(count: int) -> list[bytes]:
    return [jpeg(i) for i in range(count)]


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1)


def _list(kind: bytes, data: bytes) -> bytes:
    return _chunk(b"LIST", kind + data)


def avi(pictures: list[bytes], scale: int = 1, rate: int = 25, codec: bytes = b"MJPG", sound: bool = False) -> bytes:
    """An AVI after Microsoft's reference, with the pictures as they are and no index."""
    avih = struct.pack("<14I", 1_000_000 * scale // rate, 0, 0, 0, len(pictures), 0, 1, 0, 64, 48, 0, 0, 0, 0)
    strh = struct.pack("<4s4s3I6I", b"vids", codec, 0, 0, 0, scale, rate, 0, len(pictures), 0, 0) + bytes(12)
    strf = struct.pack("<IiiHH4s5I", 40, 64, 48, 1, 24, codec, 64 * 48 * 3, 0, 0, 0, 0)
    streams = _list(b"strl", _chunk(b"strh", strh) + _chunk(b"strf", strf))
    number = b"00"
    if sound:
        audio = struct.pack("<4s4s3I6I", b"auds", b"\0\0\0\0", 0, 0, 0, 1, 8000, 0, 0, 0, 0) + bytes(12)
        wave = struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8)
        streams = _list(b"strl", _chunk(b"strh", audio) + _chunk(b"strf", wave)) + streams
        number = b"01"
    movi = b"".join((_chunk(b"00wb", b"\x80" * 9) if sound else b"") + _chunk(number + b"dc", p) for p in pictures)
    body = _list(b"hdrl", _chunk(b"avih", avih) + streams) + _chunk(b"JUNK", bytes(13)) + _list(b"movi", movi)
    return _chunk(b"RIFF", b"AVI " + body)


@asynccontextmanager
async def raw_server(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that reads a request's head, gives it to `script` and closes; yields its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(await reader.readuntil(b"\r\n\r\n"), reader, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(client, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def always(answer: bytes) -> Script:
    """The same answer to every request."""

    async def script(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return script


async def collect(
    source: Source, count: int = 0, timeout_s: float = 60.0, until: Publish = lambda frame: None
) -> tuple[list[Frame], BaseException | None]:
    """The frames of a run until it ends, or `count` are there; and how it ended (None: it returned, or was cut).

    `until`: what the source is told of each frame, until when nobody wants another.
    """
    frames: list[Frame] = []
    enough = asyncio.Event()

    def publish(frame: Frame) -> int | None:
        frames.append(frame)
        if count and len(frames) >= count:
            enough.set()
        return until(frame)

    run = asyncio.create_task(source.run(publish))
    waiter = asyncio.create_task(enough.wait())
    try:
        await asyncio.wait([run, waiter], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        assert run.done() or enough.is_set(), f"neither an end nor {count} frames within {timeout_s} s: {len(frames)}"
        return frames, run.exception() if run.done() else None
    finally:
        for task in (run, waiter):
            task.cancel()
        await asyncio.gather(run, waiter, return_exceptions=True)
