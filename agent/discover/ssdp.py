"""UPnP's question to everybody (UPnP Device Architecture 1.1, 1.3.2), and the description of each that answers."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from urllib.parse import urlsplit

from agent.discover import Found
from agent.discover.families import family, line
from agent.discover.multicast import ask
from agent.discover.text import children, fetch, printable
from agent.errors import AgentError

GROUP = ("239.255.255.250", 1900)
_QUESTION = (
    b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\nST: upnp:rootdevice\r\n\r\n'
)
_LOCATION = re.compile(rb"(?im)^location:[ \t]*(\S{1,500})[ \t]*\r?$")
_CAMERA = re.compile(r"(?i)camera|webcam|\bdcs-|ipcam|netcam|video ?server")
MAX_DESCRIPTIONS = 64


async def find(limit_s: float) -> list[Found]:
    """Devices whose description speaks of a camera, or is that of a known family."""
    found: list[Found] = []
    seen: set[str] = set()
    tasks: set[asyncio.Task[None]] = set()

    def answered(data: bytes, address: str) -> None:
        location = _LOCATION.search(data)
        url = location[1].decode("latin-1") if location else ""
        # A description elsewhere would make us ask whomever a stranger names.
        with suppress(ValueError):
            if url and url not in seen and len(seen) < MAX_DESCRIPTIONS and urlsplit(url).hostname == address:
                seen.add(url)
                tasks.add(asyncio.create_task(_describe(url, address, limit_s, found)))

    try:
        await ask(_QUESTION, GROUP, limit_s, answered)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found


async def _describe(url: str, address: str, limit_s: float, found: list[Found]) -> None:
    with suppress(AgentError, ValueError):
        about = children(await fetch(url, limit_s))
        maker, model = about.get("manufacturer", ""), about.get("modelName", "")
        words = " ".join((maker, model, about.get("modelDescription", ""), about.get("deviceType", "")))
        preset = family(words)
        if not preset and not _CAMERA.search(words):
            return
        port = urlsplit(about.get("presentationURL", "")).port or 80
        name = printable(about.get("friendlyName", "") or model)
        found.append(Found("ssdp", name, address, printable(f"{maker} {model}".strip()), line(preset, address, port)))
