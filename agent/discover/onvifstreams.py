"""What an ONVIF camera tells of its streams without a login (ONVIF Media Service, 5.2 and 5.15); many tell nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from agent.discover.text import MAX_TEXT_BYTES, xml

MAX_PROFILES = 4
_SOAP = (
    '<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:d="http://www.onvif.org/ver10/device/wsdl" xmlns:m="http://www.onvif.org/ver10/media/wsdl" '
    'xmlns:t="http://www.onvif.org/ver10/schema"><s:Body>{}</s:Body></s:Envelope>'
)
_CAPABILITIES = "<d:GetCapabilities><d:Category>Media</d:Category></d:GetCapabilities>"
_PROFILES = "<m:GetProfiles/>"
_ADDRESS = (
    "<m:GetStreamUri><m:StreamSetup><t:Stream>RTP-Unicast</t:Stream><t:Transport><t:Protocol>RTSP</t:Protocol>"
    "</t:Transport></m:StreamSetup><m:ProfileToken>{}</m:ProfileToken></m:GetStreamUri>"
)
_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*(\d{1,9})[ \t]*\r?$")


@dataclass(frozen=True, slots=True)
class Stream:
    """An address without a login, and how many pixels a picture has there (0: not told)."""

    url: str
    pixels: int


async def streams(device: str, host: str, limit_s: float) -> list[Stream]:
    """The camera's streams, the largest first; empty where it wants a login, or is not done within `limit_s`.

    `device` is its device service's address. Only `host` is asked, whatever it names; nothing secret is sent.
    """
    found: list[Stream] = []
    try:
        async with asyncio.timeout(limit_s):
            told = await _call(device, host, _CAPABILITIES)
            media = next((t for t in _texts(told, "XAddr") if urlsplit(t).hostname == host), "")
            for token, pixels in _profiles(await _call(media, host, _PROFILES)):
                told = await _call(media, host, _ADDRESS.format(escape(token)))
                url = next(_texts(told, "Uri"), "")
                parts = urlsplit(url)
                if parts.scheme == "rtsp" and parts.hostname == host and url.isprintable() and " " not in url:
                    found.append(Stream(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), pixels))
    except (OSError, ValueError, TimeoutError, EOFError):
        pass
    return sorted(found, key=lambda s: -s.pixels)


def _profiles(answer: Element) -> list[tuple[str, int]]:
    """Token and pixels of those that have video."""
    found = []
    for profile in (n for n in answer.iter() if n.tag.endswith("}Profiles")):
        encoder = next((n for n in profile.iter() if n.tag.endswith("}VideoEncoderConfiguration")), None)
        if encoder is None or not (token := profile.get("token", "")):
            continue
        sides = [int(t) for name in ("Width", "Height") for t in _texts(encoder, name) if t.isdecimal()]
        found.append((token, sides[0] * sides[1] if len(sides) == 2 else 0))
    return found[:MAX_PROFILES]


def _texts(node: Element, name: str) -> Iterator[str]:
    return ((n.text or "").strip() for n in node.iter() if n.tag.endswith("}" + name))


async def _call(url: str, host: str, body: str) -> Element:
    """One SOAP 1.2 request over HTTP/1.0; the answer's root. Raises OSError, EOFError, ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname != host:
        raise ValueError("an address elsewhere, or none")
    data = _SOAP.format(body).encode()
    head = (
        f"POST {parts.path or '/'} HTTP/1.0\r\nHost: {parts.netloc}\r\nUser-Agent: camera-agent\r\n"
        f"Content-Type: application/soap+xml; charset=utf-8\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(host, parts.port or 80, limit=MAX_TEXT_BYTES)
    try:
        writer.write(head.encode("latin-1", "replace") + data)
        try:
            answer = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise ValueError("a head without an end") from None
        if not re.match(rb"HTTP/1\.[01] 200\b", answer):
            raise ValueError("refused")
        length = _LENGTH.search(answer)
        if length is not None:
            return xml(await reader.readexactly(min(int(length[1]), MAX_TEXT_BYTES)))
        text = b""
        while len(text) < MAX_TEXT_BYTES and (more := await reader.read(MAX_TEXT_BYTES)):
            text += more
        return xml(text)
    finally:
        writer.transport.abort()
