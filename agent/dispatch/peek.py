"""The decision: which route gets a connection, as a pure function of its first bytes."""

from __future__ import annotations

import http
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from agent.dispatch import httphead, proxyline, tlshello
from agent.dispatch.httphead import BadHead, Head
from agent.dispatch.matchers import Answer, Http, Matcher, Network, Seen, Silence, in_networks
from agent.dispatch.problem import PROBLEM, about
from agent.dispatch.proxyline import Peer

PEEK_CAP_BYTES = 16 * 1024
_NOBODY = Peer()


@dataclass(frozen=True, slots=True)
class Route:
    """A rule: connections to which all of `when` say yes go to `service` (none of `when`: every one)."""

    name: str
    service: str
    when: tuple[Matcher, ...] = ()

    def match(self, seen: Seen) -> Answer:
        answers = [matcher.match(seen) for matcher in self.when]
        for strongest in (Answer.NO, Answer.MORE, Answer.REFUSE):
            if strongest in answers:
                return strongest
        return Answer.YES

    @property
    def by_silence(self) -> bool:
        return any(isinstance(matcher, Silence) for matcher in self.when)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a connection, by which rule, and why in words.

    skip: bytes of a PROXY header in front, not part of what the service gets; peer: whom that header names.
    answer: for a refusal, what to send before closing. late: refused since the sniff deadline passed.
    """

    kind: Literal["route", "need-more", "refuse"]
    rule: str
    why: str
    route: Route | None = None
    skip: int = 0
    peer: Peer = _NOBODY
    answer: bytes = b""
    late: bool = False


def decide(
    routes: Sequence[Route],
    data: bytes,
    eof: bool = False,
    deadline: bool = False,
    peer: Peer = _NOBODY,
    *,
    silent: bool = False,
    proxy_from: tuple[Network, ...] = (),
    cap_bytes: int = PEEK_CAP_BYTES,
) -> Decision:
    """The first route whose rule says yes after every rule before it has said a definite no.

    data: the connection's first bytes; only `cap_bytes` of them count. eof: the client will send no more.
    deadline: the time for deciding is over. silent: the silence timer ran out; it matters without any byte, and
    then only rules with `Silence` profit: a late client is not given away to a catch-all.
    proxy_from: peers that may send a PROXY header first. The result never depends on how the bytes were cut.
    """
    data, full = data[:cap_bytes], len(data) >= cap_bytes
    quiet = (silent or deadline) and not data
    skip, client = 0, peer
    if in_networks(peer, proxy_from):
        announced = proxyline.parse(data)
        if announced is proxyline.Unsettled.BAD:
            return Decision("refuse", "proxy", "malformed PROXY header", peer=peer)
        if announced is proxyline.Unsettled.MORE and not (eof or full or quiet):
            return _wait("proxy", "a PROXY header may be on its way", data, deadline, full, peer)
        if isinstance(announced, proxyline.Announced):
            skip, client = announced.size, announced.source or peer
    seen = Seen(data[skip:], eof, quiet or silent or deadline, full, client)
    decision = _choose(routes, seen, deadline)
    return replace(decision, skip=skip, peer=client) if skip else decision


def _choose(routes: Sequence[Route], seen: Seen, deadline: bool) -> Decision:
    waiting: Route | None = None
    for route in routes:
        answer = route.match(seen)
        if answer is Answer.MORE:
            waiting = waiting or route
            if not seen.quiet:
                break
        elif answer is Answer.REFUSE and waiting is None:
            return _refused_by(route, seen)
        elif answer is Answer.YES and (waiting is None or route.by_silence):
            return Decision("route", route.name, describe(seen), route)
    if waiting:
        why = f"rule '{waiting.name}' needs more bytes"
        return _wait(waiting.name, why, seen.data, deadline, seen.full, seen.peer)
    return _nobody(seen, deadline)


def _wait(rule: str, why: str, data: bytes, deadline: bool, full: bool, peer: Peer) -> Decision:
    if not (deadline or full):
        return Decision("need-more", rule, why, peer=peer)
    status = 431 if full else 408
    answer = http_answer(status) if httphead.looks_like_http(data) else b""
    reason = "peek cap reached" if full else "undecided at the sniff deadline" if data else "silent"
    return Decision("refuse", "limit" if full else "deadline", reason, answer=answer, late=not full)


def _refused_by(route: Route, seen: Seen) -> Decision:
    head = seen.http
    if isinstance(head, BadHead):
        return Decision("refuse", route.name, head.why, answer=http_answer(head.status, head.why))
    if isinstance(head, Head) and not head.whole:
        return Decision("refuse", route.name, "head longer than the peek cap", answer=http_answer(431))
    return Decision("refuse", route.name, "refused by the rule")


def _nobody(seen: Seen, deadline: bool) -> Decision:
    """No rule wants it. The refusal waits for a whole head, to be given in the client's own protocol."""
    announced = proxyline.parse(seen.data)
    pending = (
        seen.http is httphead.Unsettled.MORE
        or seen.tls is tlshello.Unsettled.MORE
        or (announced is proxyline.Unsettled.MORE and not seen.last)
    )
    if pending:
        return _wait("none", "no rule fits; waiting to answer", seen.data, deadline, seen.full, seen.peer)
    if isinstance(seen.http, BadHead):
        return Decision("refuse", "none", seen.http.why, answer=http_answer(seen.http.status, seen.http.why))
    if isinstance(seen.http, Head):
        return Decision("refuse", "none", f"no rule for {describe(seen)}", answer=http_answer(404))
    if isinstance(seen.tls, tlshello.Hello):
        why = f"no rule for {describe(seen)}"
        return Decision("refuse", "none", why, answer=tlshello.UNRECOGNIZED_NAME)
    if announced not in (proxyline.Unsettled.NONE, proxyline.Unsettled.MORE):
        return Decision("refuse", "none", "PROXY header from a peer that may not send one")
    return Decision("refuse", "none", "no rule fits")


def http_answer(status: int, detail: str = "") -> bytes:
    """A refusal that ends the connection, for programs (RFC 9457)."""
    return http_response(status, json.dumps(about(status, **({"detail": detail} if detail else {}))) + "\n", PROBLEM)


def http_response(status: int, body: str, kind: str) -> bytes:
    """A whole response of that status that ends the connection."""
    first = f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}"
    head = f"{first}\r\nContent-Type: {kind}\r\nContent-Length: {len(body.encode())}\r\n"
    return f"{head}Connection: close\r\n\r\n{body}".encode()


def without_body(answer: bytes) -> bytes:
    """What a HEAD is answered."""
    return answer[: answer.index(b"\r\n\r\n") + 4] if answer else b""


def describe(seen: Seen, path: bool = False) -> str:
    """The bytes in a few words, for the record: protocol and what a rule could have gone by.

    Of an HTTP path the first part only, unless `path`: links with secrets shall not get into logs.
    """
    head, hello = seen.http, seen.tls
    if isinstance(head, Head):
        kind = "WebSocket" if head.websocket else "HTTP"
        first, slash, rest = head.path[1:].partition("/")
        shown = head.path if path or not rest else f"/{first}{slash}…"
        return f"{kind} {head.method} {_short(head.host or '-')}{_short(shown)}"
    if isinstance(hello, tlshello.Hello):
        return f"TLS for '{_short(hello.sni)}'" + (f" alpn {_short(','.join(hello.alpn))}" if hello.alpn else "")
    if not seen.data:
        return "a client that ended at once" if seen.eof else "a silent client" if seen.quiet else "any client"
    return f"bytes that begin {seen.data[:16]!r}"


def _short(text: str) -> str:
    """At most 60 printable characters of what a stranger sent."""
    return "".join(c if c.isprintable() else "?" for c in text[:60])


def explain(
    routes: Sequence[Route],
    data: bytes,
    peer: Peer = _NOBODY,
    *,
    proxy_from: tuple[Network, ...] = (),
    cap_bytes: int = PEEK_CAP_BYTES,
) -> str:
    """Lines for people: what the bytes are, what each rule says, what would happen now and at the end."""

    def verdict(eof: bool, deadline: bool) -> Decision:
        return decide(routes, data, eof, deadline, peer, proxy_from=proxy_from, cap_bytes=cap_bytes, silent=deadline)

    now = verdict(False, False)
    shown = data[:cap_bytes]
    seen = Seen(shown[now.skip :], False, False, len(data) >= cap_bytes, now.peer)
    lines = [f"{len(data)} bytes: {describe(seen, path=True)}"]
    if now.skip:
        lines.append(f"PROXY header of {now.skip} bytes: the client is {now.peer}")
    for number, route in enumerate(routes, 1):
        lines.append(f"{number}. rule '{route.name}' -> {route.service}: {route.match(seen).value}")
    lines.append("now: " + _in_words(now))
    if now.kind == "need-more":
        lines.append("if the client ends here: " + _in_words(verdict(True, False)))
        lines.append("if nothing follows in time: " + _in_words(verdict(False, True)))
    return "\n".join(lines)


def _in_words(decision: Decision) -> str:
    if decision.route:
        return f"goes to '{decision.route.service}' by rule '{decision.rule}' ({decision.why})"
    if decision.kind == "need-more":
        return f"waits for more ({decision.why})"
    status = decision.answer.split(b" ", 2)[1].decode() if decision.answer.startswith(b"HTTP") else ""
    told = f"answer {status}" if status else "TLS alert" if decision.answer else "no answer"
    return f"refused: {decision.why} ({told}, close)"


__all__ = [
    "Decision",
    "Http",
    "Peer",
    "Route",
    "decide",
    "describe",
    "explain",
    "http_answer",
    "http_response",
    "without_body",
]
