"""Port numbers for those who cannot listen on port 0: servers that are started again, and other people's programs."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_BY_CHANCE = random.SystemRandom()


def free_port() -> int:
    """A port of this machine that nobody listens on, below those that the kernel gives out by itself.

    A number that came from port 0 and was closed may be the next connection's of any program; these are asked for by
    name only, so that a number is still free when it is needed, and nobody is there where nobody shall be.
    """
    first = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32768
    while True:
        port = _BY_CHANCE.randrange(min(10_000, first // 2), first)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def held_port() -> tuple[int, socket.socket]:
    """A free port that nobody else is given while the socket is open; servers that reuse addresses can listen there.

    For a server that is killed and started again: in between the port would be free for others.
    """
    while True:
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = free_port()
        try:
            held.bind(("127.0.0.1", port))
        except OSError:
            held.close()
            continue
        return port, held
