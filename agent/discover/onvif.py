"""ONVIF cameras by WS-Discovery (ONVIF Core Specification, 7.3): a probe for network video transmitters."""

from __future__ import annotations

import re
import uuid
from contextlib import suppress
from urllib.parse import unquote, urlsplit

from agent.discover import Found
from agent.discover.multicast import ask
from agent.discover.text import printable, xml

GROUP = ("239.255.255.250", 3702)
_PROBE = """<?xml version="1.0" encoding="utf-8"?>
<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl">
<e:Header><w:MessageID>urn:uuid:{id}</w:MessageID>
<w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>
<w:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header>
<e:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>"""
_SCOPE = re.compile(r"onvif://www\.onvif\.org/(name|hardware|location)/(\S+)")


async def find(limit_s: float) -> list[Found]:
    """Who answers the probe. What its streams are called only a login would tell: the line says RTSP, PATH is open."""
    found: dict[str, Found] = {}

    def answered(data: bytes, address: str) -> None:
        with suppress(ValueError):
            for match in (n for n in xml(data).iter() if n.tag.endswith("}ProbeMatch")):
                about = {n.tag.rpartition("}")[2]: (n.text or "").strip() for n in match.iter()}
                at = next((u for u in about.get("XAddrs", "").split() if urlsplit(u).hostname == address), "")
                if at:
                    found.setdefault(address, _found(address, about.get("Scopes", "")))

    await ask(_PROBE.format(id=uuid.uuid4()).encode(), GROUP, limit_s, answered)
    return list(found.values())


def _found(address: str, scopes: str) -> Found:
    about = {kind: printable(unquote(value)) for kind, value in _SCOPE.findall(scopes)}
    hardware = about.get("hardware", "")
    name = about.get("name", "") or hardware or "ONVIF camera"
    return Found("onvif", name, address, hardware, f"{{type: rtsp, url: rtsp://{address}/PATH, password_file: FILE}}")
