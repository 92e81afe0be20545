"""Small texts of strangers: fetched with a limit, and their XML read without what XML can do to its reader."""

from __future__ import annotations

import asyncio
import re
from xml.etree import ElementTree

from agent.errors import TransientError
from agent.sources.http import Url
from agent.sources.login import Login
from agent.sources.stream import get

MAX_TEXT_BYTES = 64 * 1024


def printable(text: str, most: int = 80) -> str:
    """Fit for one line of a terminal."""
    return "".join(c if c.isprintable() else " " for c in text[:most]).strip()


class _Text:
    """A response's body up to a limit."""

    patience_s = 0.0

    missing = 1

    def __init__(self) -> None:
        self._buf = bytearray(MAX_TEXT_BYTES)
        self._count = 0

    def room(self) -> memoryview:
        return memoryview(self._buf)[self._count :]

    def take(self, count: int) -> bool:
        self._count += count
        return self._count == len(self._buf)

    @property
    def data(self) -> bytes:
        return bytes(self._buf[: self._count])


async def fetch(address: str, timeout_s: float) -> bytes:
    """The first 64 KiB behind an http:// address; raises AgentError, ValueError."""
    answer = await get(Url.parse(address), Login("", ""), timeout_s)
    text = _Text()
    try:
        answer.connection.read(text)
        async with asyncio.timeout(timeout_s):
            await answer.connection.ended
    except TimeoutError:
        raise TransientError(f"{answer.url.label}: no end within {timeout_s:g} s") from None
    finally:
        await answer.connection.close()
    return text.data


def xml(data: bytes) -> ElementTree.Element:
    """The root; raises ValueError, also for a document with entities of its own (they can grow without a bound)."""
    if b"<!" in re.sub(rb"<!--.*?-->|<!\[CDATA\[", b"", data, flags=re.S):
        raise ValueError("XML with a document type")
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as e:
        raise ValueError(str(e)) from None


def children(data: bytes) -> dict[str, str]:
    """The first text of each tag, without its namespace; raises ValueError."""
    found: dict[str, str] = {}
    for node in xml(data).iter():
        name = node.tag.rpartition("}")[2]
        if name not in found and node.text and node.text.strip():
            found[name] = node.text.strip()[:200]
    return found
