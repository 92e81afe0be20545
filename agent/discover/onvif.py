"""ONVIF cameras by WS-Discovery (ONVIF Core Specification, 7.3): a probe for network video transmitters."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from contextlib import suppress
from urllib.parse import unquote, urlsplit

from agent.discover import Found
from agent.discover.multicast import ask
from agent.discover.onvifstreams import Stream, streams
from agent.discover.text import printable, xml

MAX_CAMERAS = 64
EARLY_S = 0.2  # what is asked ends before the time is over
GROUP = ("239.255.255.250", 3702)
_PROBE = """<?xml version="1.0" encoding="utf-8"?>
<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl">
<e:Header><w:MessageID>urn:uuid:{id}</w:MessageID>
<w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>
<w:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header>
<e:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>"""
_PLAIN = re.compile(r"[\w:/.?=&%~+;@!$*()-]+")
_SCOPE = re.compile(r"onvif://www\.onvif\.org/(name|hardware|location)/(\S+)")


async def find(limit_s: float) -> list[Found]:
    """Who answers the probe. Who tells its streams without a login has them in its line; else PATH is left open."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + limit_s
    found: dict[str, asyncio.Task[Found]] = {}

    def answered(data: bytes, address: str) -> None:
        with suppress(ValueError):
            for match in (n for n in xml(data).iter() if n.tag.endswith("}ProbeMatch")):
                about = {n.tag.rpartition("}")[2]: (n.text or "").strip() for n in match.iter()}
                at = next((u for u in about.get("XAddrs", "").split() if urlsplit(u).hostname == address), "")
                if at and address not in found and len(found) < MAX_CAMERAS:
                    left_s = end_s - EARLY_S - loop.time()
                    found[address] = loop.create_task(_found(at, address, about.get("Scopes", ""), left_s))

    try:
        await ask(_PROBE.format(id=uuid.uuid4()).encode(), GROUP, limit_s, answered)
        return [await task for task in found.values()]
    finally:
        for task in found.values():
            task.cancel()


async def _found(at: str, address: str, scopes: str, limit_s: float) -> Found:
    about = {kind: printable(unquote(value)) for kind, value in _SCOPE.findall(scopes)}
    hardware = about.get("hardware", "")
    name = about.get("name", "") or hardware or "ONVIF camera"
    return Found("onvif", name, address, hardware, _line(address, await streams(at, address, limit_s)))


def _line(address: str, told: list[Stream]) -> str:
    url = _quoted(told[0].url) if told else f"rtsp://{address}/PATH"
    second = f", substream: {_quoted(told[-1].url)}" if told and 0 < told[-1].pixels < told[0].pixels else ""
    return f"{{type: rtsp, url: {url}{second}, username: USER, password_file: FILE}}"


def _quoted(url: str) -> str:
    """As YAML takes it between braces."""
    return url if _PLAIN.fullmatch(url) else json.dumps(url)
