"""What a route can ask of a connection's first bytes; each answer holds however the bytes were cut."""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agent.dispatch import httphead, tlshello
from agent.dispatch.httphead import TOKEN, BadHead, Head
from agent.dispatch.proxyline import Peer

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_RTSP = re.compile(rf"{TOKEN}{{1,24}} [^ \r\n]+ RTSP/[12]\.0\r".encode())
_RTSP_OPENING = re.compile(rf"{TOKEN}{{1,24}}(?: [^ \r\n]*(?: [RTSP/0-9.]*\r?)?)?".encode())


class Answer(enum.Enum):
    """MORE only while a longer beginning can still change the answer; REFUSE: mine, and not to be served."""

    NO = "no"
    YES = "yes"
    MORE = "need more"
    REFUSE = "refuse"


class Seen:
    """A connection so far. `eof`: no byte will follow; `full`: none beyond these will be looked at.

    `quiet`: a timer ran out before the first byte.
    """

    def __init__(self, data: bytes, eof: bool, quiet: bool, full: bool, peer: Peer) -> None:
        self.data = data
        self.eof = eof
        self.quiet = quiet and not data
        self.full = full
        self.peer = peer
        self._http: Head | BadHead | httphead.Unsettled | None = None
        self._tls: tlshello.Hello | tlshello.Unsettled | None = None

    @property
    def last(self) -> bool:
        """No further byte can come into view, so that an unfinished match is none."""
        return self.eof or self.full

    @property
    def http(self) -> Head | BadHead | httphead.Unsettled:
        if self._http is None:
            self._http = httphead.parse(self.data, self.eof, self.full)
        return self._http

    @property
    def tls(self) -> tlshello.Hello | tlshello.Unsettled:
        if self._tls is None:
            hello = tlshello.parse(self.data)
            unfinished = hello is tlshello.Unsettled.MORE and self.last
            self._tls = tlshello.Unsettled.NOT_TLS if unfinished else hello
        return self._tls


class Matcher(Protocol):
    def match(self, seen: Seen) -> Answer: ...


def _yes(ok: bool) -> Answer:
    return Answer.YES if ok else Answer.NO


def starts(seen: Seen, wanted: bytes) -> Answer:
    """Whether the connection begins with exactly these bytes."""
    if seen.data.startswith(wanted):
        return Answer.YES
    return Answer.MORE if wanted.startswith(seen.data) and not seen.last else Answer.NO


def host_fits(host: str, patterns: tuple[str, ...]) -> bool:
    """`*.example.org` fits every name below example.org, anything else exactly itself (lower case)."""
    return any(host == p or (p.startswith("*.") and host.endswith(p[1:])) for p in patterns)


def path_fits(path: str, prefixes: tuple[str, ...]) -> bool:
    """`/a` and `/a/*` fit /a and everything below it, never /ab. Not a boundary for access control."""
    for prefix in prefixes:
        stem = prefix.removesuffix("*").rstrip("/")
        if path == stem or path.startswith(stem + "/"):
            return True
    return False


@dataclass(frozen=True, slots=True)
class Any:
    """Every connection, at once."""

    def match(self, seen: Seen) -> Answer:
        return Answer.YES


@dataclass(frozen=True, slots=True)
class Silence:
    """A client that waits for the server to speak: no byte came before the silence timer ran out."""

    def match(self, seen: Seen) -> Answer:
        if seen.data:
            return Answer.NO
        return Answer.YES if seen.quiet or seen.eof else Answer.MORE


@dataclass(frozen=True, slots=True)
class Tls:
    """A TLS ClientHello; `sni` host patterns, `alpn` names of which the client must offer one."""

    sni: tuple[str, ...] = ()
    alpn: tuple[str, ...] = ()

    def match(self, seen: Seen) -> Answer:
        hello = seen.tls
        if isinstance(hello, tlshello.Unsettled):
            return Answer.MORE if hello is tlshello.Unsettled.MORE else Answer.NO
        sni = not self.sni or host_fits(hello.sni, self.sni)
        return _yes(sni and (not self.alpn or any(a in hello.alpn for a in self.alpn)))


@dataclass(frozen=True, slots=True)
class Http:
    """An HTTP/1 request to which everything given applies.

    header: (name, value) pairs, the value None for "present"; names lower case, values compared as they are.
    """

    methods: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    header: tuple[tuple[str, str | None], ...] = ()
    websocket: bool | None = None

    def match(self, seen: Seen) -> Answer:
        head = seen.http
        if isinstance(head, httphead.Unsettled):
            return Answer.MORE if head is httphead.Unsettled.MORE else Answer.NO
        if isinstance(head, BadHead) or self._beyond_the_cut(head):
            return Answer.REFUSE
        return _yes(self._line_fits(head) and self._fields_fit(head))

    def _beyond_the_cut(self, head: Head) -> bool:
        """Whether the answer may lie in fields that the peek cap keeps from view."""
        if head.whole or not self._line_fits(head):
            return False
        hidden = (self.header and not self._fields_fit(head)) or self.websocket is not None
        return bool(hidden or (self.hosts and head.host is None))

    def _line_fits(self, head: Head) -> bool:
        method = not self.methods or head.method in self.methods
        return method and (not self.paths or path_fits(head.path, self.paths))

    def _fields_fit(self, head: Head) -> bool:
        if self.hosts and not host_fits(head.host or "", self.hosts):
            return False
        if self.websocket is not None and head.websocket != self.websocket:
            return False
        return all(
            values and (wanted is None or wanted in values)
            for values, wanted in ((head.values(name), value) for name, value in self.header)
        )


@dataclass(frozen=True, slots=True)
class Http2:
    """The preface of HTTP/2 with prior knowledge (RFC 9113 3.4)."""

    def match(self, seen: Seen) -> Answer:
        return starts(seen, _H2_PREFACE)


@dataclass(frozen=True, slots=True)
class Rtsp:
    """A request line that ends in RTSP/1.0 or 2.0; the method words are HTTP's."""

    def match(self, seen: Seen) -> Answer:
        line, newline, _ = seen.data.partition(b"\n")
        if newline:
            return _yes(bool(_RTSP.fullmatch(line)))
        unfinished = not line or _RTSP_OPENING.fullmatch(line)
        return Answer.MORE if unfinished and not seen.last else Answer.NO


@dataclass(frozen=True, slots=True)
class Ssh:
    """An SSH client's version line (RFC 4253 4.2)."""

    def match(self, seen: Seen) -> Answer:
        new, old = starts(seen, b"SSH-2.0-"), starts(seen, b"SSH-1.99-")
        return old if new is Answer.NO else new


@dataclass(frozen=True, slots=True)
class Mqtt:
    """An MQTT CONNECT packet, 3.1 to 5.0."""

    def match(self, seen: Seen) -> Answer:
        data = seen.data
        if data[:1] not in (b"", b"\x10"):
            return Answer.NO
        size = next((i for i, b in enumerate(data[1:5], 1) if b < 0x80), 0)
        if not size:
            return Answer.MORE if len(data) < 5 and not seen.last else Answer.NO
        name = Seen(data[size + 1 :], seen.eof, False, seen.full, seen.peer)
        new, old = starts(name, b"\0\4MQTT"), starts(name, b"\0\6MQIsdp")
        return old if new is Answer.NO else new


@dataclass(frozen=True, slots=True)
class Starts:
    """The very bytes given."""

    wanted: bytes

    def match(self, seen: Seen) -> Answer:
        return starts(seen, self.wanted)


@dataclass(frozen=True, slots=True)
class Client:
    """The client's address lies in one of the networks; never true of UNIX sockets."""

    networks: tuple[Network, ...]

    def match(self, seen: Seen) -> Answer:
        return _yes(in_networks(seen.peer, self.networks))


@dataclass(frozen=True, slots=True)
class Custom:
    """A function of one's own. It must keep the rule of `Answer.MORE` and answer from `seen` alone."""

    name: str
    function: Callable[[Seen], Answer]

    def match(self, seen: Seen) -> Answer:
        answer = self.function(seen)
        return Answer.NO if answer is Answer.MORE and seen.last else answer


def in_networks(peer: Peer, networks: tuple[Network, ...]) -> bool:
    address = peer.address if networks else None
    return address is not None and any(address in network for network in networks)
