"""Listening sockets: TCP, UNIX, inherited from systemd; accepting survives a shortage of descriptors."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from agent.dispatch.proxyline import Peer
from agent.errors import ConfigError, PermanentError

log = logging.getLogger(__name__)
_SHORT_OF = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE_S = 0.2
_TRY_LATER, _PERMISSION = 75, 77
_BURST = 64
BACKLOG = 1024
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}
"""What stands for all addresses, of IPv4, of both and of IPv6 alone: this machine's own way in."""

_FIRST_INHERITED_FD = 3


def tcp(host: str, port: int) -> list[socket.socket]:
    """One listening socket for each address of `host` ("" for all).

    Raises PermanentError naming it, with exit code 75 for a port that is taken, 77 for one that is not permitted.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
    except OSError as e:
        raise PermanentError(f"cannot listen on {host}:{port}: {e.strerror}") from None
    out: list[socket.socket] = []
    for family, address in sorted({(f, a[:2]) for f, _, _, _, a in found}):
        shared_port = out[0].getsockname()[1] if out and not port else port
        try:
            out.append(socket.create_server((str(address[0]), shared_port), family=family, backlog=BACKLOG))
        except OSError as e:
            for sock in out:
                sock.close()
            raise _refused(e, host, port) from None
    return out


def lan_address(host: str = "") -> str | None:
    """The private address by which others reach who listens on `host`, all addresses; asks the routing table only."""
    family, far = (socket.AF_INET6, "2001:db8::1") if host == "::" else (socket.AF_INET, "192.0.2.1")
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as s:
        s.connect((far, 9))
        address = str(s.getsockname()[0])
        if ip_address(address).is_private and not ip_address(address).is_loopback:
            return address
    return None


def is_loopback(host: str | None) -> bool:
    """Whether this name or address leads whoever uses it to their own machine."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def _refused(e: OSError, host: str, port: int) -> PermanentError:
    where = f"port {port} on {host or 'all addresses'}"
    if e.errno == errno.EADDRINUSE:
        return PermanentError(f"{where} is taken by another program", _TRY_LATER)
    if e.errno in (errno.EACCES, errno.EPERM):
        return PermanentError(f"{where} is not permitted", _PERMISSION)
    return PermanentError(f"cannot listen on {where}: {e.strerror or e}", _TRY_LATER)


def unix(path: Path, mode: int = 0o660) -> socket.socket:
    """A listening UNIX socket; a stale file of a dead one goes. Raises PermanentError naming the path."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and _is_stale(path):
            path.unlink()
        # Nobody may connect between bind and chmod.
        mask = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(mask)
        path.chmod(mode)
        sock.listen(BACKLOG)
    except OSError as e:
        sock.close()
        raise PermanentError(f"cannot listen on {path}: {e.strerror or e}") from None
    return sock


def inherited(environ: Mapping[str, str]) -> dict[str, list[socket.socket]]:
    """Sockets that systemd opened for this process, by name (sd_listen_fds(3)); empty when there are none."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    try:
        number = int(environ.get("LISTEN_FDS", "0"))
    except ValueError:
        raise ConfigError("LISTEN_FDS is not a number") from None
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    out: dict[str, list[socket.socket]] = {}
    for i in range(number):
        sock = socket.socket(fileno=_FIRST_INHERITED_FD + i)
        os.set_inheritable(sock.fileno(), False)
        out.setdefault(names[i] if i < len(names) and names[i] else "unknown", []).append(sock)
    return out


def _is_stale(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(str(path)) == errno.ECONNREFUSED


def peer_of(address: object) -> Peer:
    """Who sits at the other end, after what `accept` says."""
    return Peer(str(address[0]), int(address[1])) if isinstance(address, tuple) and address else Peer()


class Listener:
    """Accepts from one socket and calls `accepted(sock, peer, name)` for each connection.

    A UNIX socket's file goes with it, unless the socket was `inherited`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        name: str,
        accepted: Callable[[socket.socket, Peer, str], None],
        short: Callable[[], None],
        inherited: bool = False,
    ) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            # Linux gives both to the accepted sockets, which saves two calls for each.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._loop = loop
        self._sock = sock
        self._accepted = accepted
        self._short = short
        self._pause: asyncio.TimerHandle | None = None
        self._inherited = inherited
        self.name = name
        self.path = str(sock.getsockname()) if sock.family == socket.AF_UNIX else ""
        self.port = 0 if self.path else int(sock.getsockname()[1])
        loop.add_reader(sock.fileno(), self._ready)

    def close(self) -> None:
        if self._pause:
            self._pause.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        if self.path and not self._inherited and not self.path.startswith("\0"):
            Path(self.path).unlink(missing_ok=True)

    def _ready(self) -> None:
        for _ in range(_BURST):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as e:
                if e.errno not in _SHORT_OF:
                    raise
                return self._rest(e)
            sock.setblocking(False)
            self._accepted(sock, peer_of(address), self.name)

    def _rest(self, error: OSError) -> None:
        """Out of descriptors: connections wait in the backlog while some of ours end."""
        self._loop.remove_reader(self._sock.fileno())
        self._pause = self._loop.call_later(_PAUSE_S, self._loop.add_reader, self._sock.fileno(), self._ready)
        log.debug("%s: not accepting for %s s: %s", self.name, _PAUSE_S, error.strerror)
        self._short()
