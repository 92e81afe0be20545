"""One question by UDP multicast out of every interface, and whatever comes back until the time is over."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
from collections.abc import Callable

_SIOCGIFADDR = 0x8915
_REPEATS_S = (0.0, 0.3, 0.9)
"""UDP gets lost; the answers to a repeated question are the same."""
MAX_ANSWERS = 2000

Answer = Callable[[bytes, str], None]


def addresses() -> list[str]:
    """This machine's IPv4 addresses, loopback included (a software camera may live here); where the system does not
    tell them as Linux does, 0.0.0.0 for the usual way out."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                request = struct.pack("256s", name.encode()[:15])
                found.append(socket.inet_ntoa(fcntl.ioctl(s.fileno(), _SIOCGIFADDR, request)[20:24]))
    return found or ["0.0.0.0"]


async def ask(question: bytes, group: tuple[str, int], limit_s: float, answer: Answer) -> None:
    """Send `question` to `group` three times from each address and call `answer(data, address)` for `limit_s`."""
    loop = asyncio.get_running_loop()
    ways: list[asyncio.DatagramTransport] = []
    try:
        for address in addresses():
            with contextlib.suppress(OSError):
                sock = _socket(address)
                ways.append((await loop.create_datagram_endpoint(lambda: _Listener(answer), sock=sock))[0])
        begin = loop.time()
        for after_s in (t for t in _REPEATS_S if t < limit_s):
            await asyncio.sleep(begin + after_s - loop.time())
            for way in ways:
                way.sendto(question, group)
        await asyncio.sleep(begin + limit_s - loop.time())
    finally:
        for way in ways:
            way.abort()


def _socket(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
        sock.bind((address, 0))
    except OSError:
        sock.close()
        raise
    return sock


class _Listener(asyncio.DatagramProtocol):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._count = 0

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._count += 1
        if self._count <= MAX_ANSWERS:
            self._answer(data, addr[0])

    def error_received(self, exc: Exception) -> None:
        """An interface without a network: the others are still there."""
