"""The PROXY protocol, versions 1 and 2, in and out (haproxy.org, doc/proxy-protocol.txt)."""

from __future__ import annotations

import enum
import ipaddress
import socket
import struct
from dataclasses import dataclass

V1_START = b"PROXY "
V2_START = b"\r\n\r\n\0\r\nQUIT\n"
_V1_MAX_BYTES = 107


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection; `host` is "" for UNIX sockets."""

    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if not self.host:
            return "unix"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def group(self) -> str:
        """Whom limits for each address count together: one IPv4 address, or the 64 bits of IPv6 that a customer has."""
        if ":" not in self.host:
            return self.host
        address = self.address
        if isinstance(address, ipaddress.IPv6Address):
            return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
        return str(address)

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The host as an address, an IPv4 one mapped into IPv6 unwrapped; None for UNIX sockets."""
        if not self.host:
            return None
        address = ipaddress.ip_address(self.host.partition("%")[0])
        return (address.version == 6 and address.ipv4_mapped) or address


class Unsettled(enum.Enum):
    MORE = "more"
    NONE = "no PROXY header"
    BAD = "malformed PROXY header"


@dataclass(frozen=True, slots=True)
class Announced:
    """`source` and `target` are None when the sender speaks for itself (UNKNOWN, LOCAL)."""

    size: int
    source: Peer | None
    target: Peer | None


def parse(data: bytes) -> Announced | Unsettled:
    """The PROXY header at the start of `data`; `size` is its length in bytes."""
    if data.startswith(V2_START):
        return _parse_v2(data)
    if data.startswith(V1_START):
        return _parse_v1(data)
    return Unsettled.MORE if V1_START.startswith(data) or V2_START.startswith(data) else Unsettled.NONE


def build(version: int, source: Peer, target: Peer) -> bytes:
    """The header to send in front of a relayed connection; UNKNOWN or LOCAL when an end has no address."""
    if source.address is None or target.address is None:
        return b"PROXY UNKNOWN\r\n" if version == 1 else V2_START + b"\x20\0\0\0"
    both_v4 = source.address.version == 4 == target.address.version
    src, dst = (_widen(p, both_v4) for p in (source, target))
    if version == 1:
        kind = "TCP4" if both_v4 else "TCP6"
        return f"PROXY {kind} {src} {dst} {source.port} {target.port}\r\n".encode()
    body = src.packed + dst.packed + struct.pack(">HH", source.port, target.port)
    return V2_START + struct.pack(">BBH", 0x21, 0x11 if both_v4 else 0x21, len(body)) + body


def _widen(peer: Peer, both_v4: bool) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = peer.address
    assert address is not None
    if both_v4 or address.version == 6:
        return address
    return ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)


def _parse_v1(data: bytes) -> Announced | Unsettled:
    end = data.find(b"\n", 0, _V1_MAX_BYTES)
    if end < 0:
        return Unsettled.BAD if len(data) >= _V1_MAX_BYTES else Unsettled.MORE
    if data[end - 1 : end] != b"\r":
        return Unsettled.BAD
    words = data[: end - 1].decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return Announced(end + 1, None, None)
    family = {"TCP4": 4, "TCP6": 6}.get(words[1])
    if family is None or len(words) != 6:
        return Unsettled.BAD
    try:
        source, target = Peer(words[2], _port(words[4])), Peer(words[3], _port(words[5]))
        right = ipaddress.ip_address(words[2]).version == family == ipaddress.ip_address(words[3]).version
    except ValueError:
        return Unsettled.BAD
    return Announced(end + 1, source, target) if right else Unsettled.BAD


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or int(text) > 65535:
        raise ValueError("not a port")
    return int(text)


def _parse_v2(data: bytes) -> Announced | Unsettled:
    if len(data) > 12 and data[12] not in (0x20, 0x21):
        return Unsettled.BAD
    if len(data) < 16:
        return Unsettled.MORE
    size = 16 + int.from_bytes(data[14:16], "big")
    if len(data) < size:
        return Unsettled.MORE
    if data[12] == 0x20 or data[13] not in (0x11, 0x21):
        return Announced(size, None, None)
    width = 4 if data[13] == 0x11 else 16
    if size - 16 < 2 * width + 4:
        return Unsettled.BAD
    family = socket.AF_INET if width == 4 else socket.AF_INET6
    ports = struct.unpack_from(">HH", data, 16 + 2 * width)
    hosts = [socket.inet_ntop(family, data[16 + i * width : 16 + (i + 1) * width]) for i in (0, 1)]
    return Announced(size, Peer(hosts[0], ports[0]), Peer(hosts[1], ports[1]))
