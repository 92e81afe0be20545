"""Cameras that announce themselves by multicast DNS (RFC 6762): one question, read with a small parser (RFC 1035)."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass, field

from agent.discover import Found
from agent.discover.families import line
from agent.discover.multicast import ask
from agent.discover.text import printable

GROUP = ("224.0.0.251", 5353)
SERVICES = {
    "_axis-video._tcp.local": "axis",
    "_octoprint._tcp.local": "mjpg-streamer",
    "_rtsp._tcp.local": "rtsp",
    "_camera._tcp.local": "",
}
_A, _PTR, _SRV, _IN, _UNICAST = 1, 12, 33, 1, 0x8000
_MAX_RECORDS = 256
_MAX_NAME = 255


@dataclass(slots=True)
class Records:
    """What the answers so far say."""

    instances: dict[str, str] = field(default_factory=dict)
    servers: dict[str, tuple[str, int]] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)


async def find(limit_s: float) -> list[Found]:
    """Instances of the services above. Who asks from another port than 5353 is answered directly (RFC 6762, 6.7)."""
    records, from_ = Records(), dict[str, str]()

    def answered(data: bytes, address: str) -> None:
        with suppress(ValueError, struct.error):
            for instance in read(data, records):
                from_.setdefault(instance, address)

    await ask(question(), GROUP, limit_s, answered)
    return [_found(i, s, records, from_.get(i, "")) for i, s in records.instances.items()]


def question() -> bytes:
    """One message that asks for every service; unicast answers are welcome."""
    head = struct.pack(">6H", 0, 0, len(SERVICES), 0, 0, 0)
    return head + b"".join(_wire(s) + struct.pack(">HH", _PTR, _IN | _UNICAST) for s in SERVICES)


def read(data: bytes, into: Records) -> list[str]:
    """The records of one answer; returns the instances that it named. Raises ValueError, struct.error."""
    _, flags, questions, *counts = struct.unpack_from(">6H", data)
    if not flags & 0x8000:
        return []
    at, named = 12, []
    for _ in range(min(questions, _MAX_RECORDS)):
        at = _name(data, at)[1] + 4
    for _ in range(min(sum(counts), _MAX_RECORDS)):
        name, at = _name(data, at)
        kind, _, _, length = struct.unpack_from(">HHIH", data, at)
        at += 10
        if kind == _PTR and name.lower() in SERVICES:
            instance = _name(data, at)[0]
            into.instances.setdefault(instance, name.lower())
            named.append(instance)
        elif kind == _SRV:
            into.servers[name] = (_name(data, at + 6)[0], struct.unpack_from(">H", data, at + 4)[0])
        elif kind == _A and length == 4:
            into.addresses[name] = ".".join(map(str, data[at : at + 4]))
        at += length
    return named


def _name(data: bytes, at: int) -> tuple[str, int]:
    """A name, labels joined by dots, and the offset behind it; pointers may only lead back, so that it ends."""
    labels: list[str] = []
    behind, limit = 0, at
    while (length := data[at] if at < len(data) else -1) > 0:
        if length >= 0xC0:
            to = struct.unpack_from(">H", data, at)[0] & 0x3FFF
            behind = behind or at + 2
            if to >= limit:
                raise ValueError("a name that leads to itself")
            at = limit = to
            continue
        labels.append(data[at + 1 : at + 1 + length].decode("utf-8", "replace"))
        at += 1 + length
        if sum(map(len, labels)) > _MAX_NAME:
            raise ValueError("a name without an end")
    if length < 0:
        raise ValueError("a name that is cut off")
    return ".".join(labels), behind or at + 1


def _wire(name: str) -> bytes:
    return b"".join(bytes([len(x)]) + x.encode() for x in name.split(".")) + b"\0"


def _found(instance: str, service: str, records: Records, address: str) -> Found:
    host, port = records.servers.get(instance, ("", 0))
    where = records.addresses.get(host, address)
    name = printable(instance.removesuffix("." + service))
    preset = SERVICES[service]
    if preset == "rtsp":
        at = "" if port in (0, 554) else f":{port}"
        yaml = f"{{type: rtsp, url: rtsp://{where}{at}/PATH, username: USER, password_file: FILE}}"
    else:
        yaml = line(preset, where, port or 80)
    return Found("mdns", name, where, service.partition(".")[0].strip("_"), yaml)
