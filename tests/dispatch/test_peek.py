"""Which route gets which bytes, and that nothing but the bytes matters."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.dispatch import peek
from agent.dispatch.httphead import normal_path
from agent.dispatch.matchers import Answer, Any, Client, Custom, Http, Seen, Silence, Tls
from agent.dispatch.peek import Decision, Peer, Route, decide, explain
from tests.dispatch.samples import CATCH_ALL, HELLO, REFUSED, ROUTED, ROUTES, V1, V2

PROXIES = (ipaddress.ip_network("10.0.0.0/8"),)
NOBODY = Peer()
PROXY_PEER = Peer("10.1.2.3", 99)
EVERYTHING = {**ROUTED, **REFUSED}


def fate(decision: Decision) -> tuple[object, ...]:
    return decision.kind, decision.rule, decision.skip, decision.peer, decision.answer


def fed(data: bytes, cuts: list[int], routes: tuple[Route, ...] = ROUTES, peer: Peer = NOBODY) -> Decision:
    """The first decision, with the bytes arriving cut at these places and then the end of the stream."""
    for cut in [*sorted(cuts), len(data)]:
        decision = decide(routes, data[:cut], peer=peer, proxy_from=PROXIES)
        if decision.kind != "need-more":
            return decision
    return decide(routes, data, eof=True, peer=peer, proxy_from=PROXIES)


def status(decision: Decision) -> int:
    if decision.answer.startswith(b"HTTP/1.1 "):
        return int(decision.answer[9:12])
    return -1 if decision.answer else 0


@pytest.mark.parametrize("name", ROUTED)
def test_route(name: str) -> None:
    data, rule = ROUTED[name]
    decision = decide(ROUTES, data)
    assert (decision.kind, decision.rule) == ("route", rule), decision


@pytest.mark.parametrize("name", REFUSED)
def test_refusal(name: str) -> None:
    data, answer = REFUSED[name]
    decision = decide(ROUTES, data)
    assert (decision.kind, status(decision)) == ("refuse", answer), decision


@pytest.mark.parametrize("routes", [ROUTES, CATCH_ALL], ids=["strict", "catch-all"])
@pytest.mark.parametrize("prefix", [b"", V1, V2], ids=["plain", "v1", "v2"])
@pytest.mark.parametrize("name", EVERYTHING)
def test_every_cut_gives_the_same(name: str, prefix: bytes, routes: tuple[Route, ...]) -> None:
    data = prefix + EVERYTHING[name][0]
    peer = PROXY_PEER if prefix else Peer("192.0.2.1", 5)
    some = [*range(0, len(data), 499), *range(60), len(data) - 1]
    cuts = some if len(data) > 4000 else list(range(len(data)))
    whole = fate(fed(data, [], routes, peer))
    for cut in cuts:
        assert fate(fed(data, [cut], routes, peer)) == whole, cut
    assert fate(fed(data, cuts, routes, peer)) == whole


@given(st.sampled_from(sorted(EVERYTHING)), st.lists(st.integers(0, 400), max_size=12), st.binary(max_size=40))
@settings(max_examples=300)
def test_random_cuts_of_random_bytes(name: str, cuts: list[int], tail: bytes) -> None:
    data = EVERYTHING[name][0][: sum(cuts) % 400] + tail
    whole = fate(fed(data, []))
    assert fate(fed(data, [c for c in cuts if c < len(data)])) == whole
    assert fate(fed(data, list(range(len(data))))) == whole


@given(st.lists(st.sampled_from(["a", "b", ".", "..", "", "%2e", "a.b"]), max_size=6))
def test_a_detour_changes_no_path(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    assert normal_path("/." + path) == normal_path("/x/.." + path) == normal_path(path)


@pytest.mark.parametrize("name", EVERYTHING)
def test_the_end_at_every_byte_settles_it(name: str) -> None:
    data = EVERYTHING[name][0]
    for end in range(0, len(data), 1 if len(data) < 3000 else 97):
        for routes in (ROUTES, CATCH_ALL):
            decision = decide(routes, data[:end], eof=True)
            assert decision.kind != "need-more", end
            assert decide(routes, data[:end], deadline=True).kind != "need-more", end
            assert decision.rule != "ftp" or end == 0


def test_an_earlier_rule_in_doubt_holds_a_later_one_back() -> None:
    routes = (Route("slow", "s", (Custom("four", lambda seen: four(seen)),)), Route("rest", "r"))
    assert decide(routes, b"abc").kind == "need-more"
    assert decide(routes, b"abcd").rule == "slow"
    assert decide(routes, b"abce").rule == "rest"
    assert decide(routes, b"abc", eof=True).rule == "rest"
    assert decide(routes, b"abc", deadline=True).kind == "refuse"


def four(seen: Seen) -> Answer:
    if len(seen.data) < 4:
        return Answer.MORE
    return Answer.YES if seen.data[:4] == b"abcd" else Answer.NO


def test_silence_only_without_a_byte() -> None:
    assert decide(CATCH_ALL, b"").kind == "need-more"
    assert decide(CATCH_ALL, b"", silent=True).rule == "ftp"
    assert decide(CATCH_ALL, b"", eof=True).rule == "ftp"
    assert decide(ROUTES, b"G", silent=True).kind == "need-more"
    late = decide(ROUTES, b"GET /a HT", deadline=True, silent=True)
    assert (late.kind, late.late, status(late)) == ("refuse", True, 408)
    assert status(decide(ROUTES, HELLO[:40], deadline=True)) == 0


def test_a_late_client_is_not_given_to_the_catch_all() -> None:
    routes = (Route("a", "a", (Http(paths=("/a",)),)), Route("rest", "r"))
    assert decide(routes, b"", silent=True).kind == "need-more"
    assert decide(routes, b"", deadline=True).kind == "refuse"
    assert decide((Route("rest", "r"),), b"").rule == "rest"


def test_heads_beyond_the_cap() -> None:
    long = b"GET /b HTTP/1.1\r\nHost: x\r\nCookie: " + b"c" * 20000
    assert decide(ROUTES[6:], long).rule == "b"
    assert decide(ROUTES[6:], long[:16000]).kind == "need-more"
    assert status(decide((Route("f", "f", (Http(header=(("x-flag", "1"),)),)),), long)) == 431
    late_host = b"GET /b HTTP/1.1\r\nCookie: " + b"c" * 20000 + b"\r\nHost: x\r\n\r\n"
    assert status(decide((Route("h", "h", (Http(hosts=("x",)),)),), late_host)) == 431
    assert status(decide(ROUTES, b"GET /" + b"x" * 20000)) == 414
    assert status(decide(ROUTES, b"x" * 20000)) == 0
    assert status(decide((Route("t", "t", (Tls(),)),), b"\x16\x03\x01\x40\x00\x01\0\xff\xff" + bytes(20000))) == 0


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_proxy_header_names_the_client(header: bytes) -> None:
    routes = (Route("lan", "lan", (Client((ipaddress.ip_network("203.0.113.0/24"),)),)), Route("rest", "r"))
    decision = decide(routes, header + b"x", peer=PROXY_PEER, proxy_from=PROXIES)
    assert (decision.rule, decision.skip, decision.peer) == ("lan", len(header), Peer("203.0.113.7", 4711))
    assert decide(routes, b"x", peer=PROXY_PEER, proxy_from=PROXIES).rule == "rest"
    for end in range(len(header)):
        assert decide(routes, header[:end], peer=PROXY_PEER, proxy_from=PROXIES).kind == "need-more"


@pytest.mark.parametrize(
    "bad", [b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n", b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", V2[:12] + b"\x31"]
)
def test_a_malformed_proxy_header_is_refused(bad: bytes) -> None:
    assert decide(CATCH_ALL, bad, peer=PROXY_PEER, proxy_from=PROXIES).kind == "refuse"


@pytest.mark.parametrize("unspoken", [b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"])
def test_a_proxy_may_speak_for_itself(unspoken: bytes) -> None:
    decision = decide(CATCH_ALL, unspoken + b"SSH-2.0-x\r\n", peer=PROXY_PEER, proxy_from=PROXIES)
    assert (decision.rule, decision.peer) == ("ssh", PROXY_PEER)


def test_silence_behind_a_proxy() -> None:
    decision = decide(ROUTES, V1, peer=PROXY_PEER, proxy_from=PROXIES, silent=True)
    assert decision.kind == "route" and decision.rule == "ftp" and decision.skip == len(V1)


def test_client_and_protocol_together() -> None:
    near = Client((ipaddress.ip_network("192.0.2.0/24"),))
    routes = (Route("near", "n", (near, Http())), Route("silent", "s", (near, Silence())))
    bad = b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"
    assert decide(routes, bad, peer=Peer("192.0.2.9", 1)).rule == "near"
    assert decide(routes, bad, peer=Peer("::ffff:192.0.2.9", 1)).rule == "near"
    assert decide((*routes, Route("rest", "r", (Any(),))), bad, peer=Peer("198.51.100.1", 1)).rule == "rest"


def test_long_hostile_lines_cost_little() -> None:
    import time

    start = time.process_time()
    for data in (b"GET" + b" " * 16000 + b"\n", b"GET / HTTP/1.1\r\nX: a" + b" \t" * 8000 + b"b\r\n\r\n"):
        decide(ROUTES, data)
    assert time.process_time() - start < 2


def test_explain_shows_each_rule() -> None:
    text = explain(CATCH_ALL, b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n")
    assert "HTTP GET x/b" in text and "rule 'a' -> svc-a: no" in text
    assert "goes to 'svc-b' by rule 'b'" in text
    half = explain(CATCH_ALL, b"GET /b HTTP")
    assert "waits for more" in half and "if the client ends here: goes to 'rest'" in half
    assert "answer 408" in half
    assert "the client is 203.0.113.7:4711" in explain(ROUTES, V1, PROXY_PEER, proxy_from=PROXIES)


def test_a_secret_in_a_path_is_not_recorded() -> None:
    data = b"GET /setup/Secret?key=Secret HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Secret\r\n\r\n"
    for routes in (CATCH_ALL, ROUTES):
        why = decide(routes, data).why
        assert "x/setup/…" in why and "Secret" not in why
    assert "/setup/Secret" in explain(ROUTES, data)


def test_descriptions_are_short_and_printable() -> None:
    target = b"/a" + bytes(range(0x80, 0xFF)) * 20
    seen = Seen(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n", False, False, False, Peer())
    assert len(peek.describe(seen)) < 100 and peek.describe(seen).isprintable()
