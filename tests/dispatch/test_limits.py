"""The named bounds: hostile and unlucky clients cost little and take nobody else's place."""

from __future__ import annotations

import asyncio
import os
import resource
import socket

import pytest

from agent.dispatch.limits import Limits
from agent.dispatch.matchers import Http, Silence
from agent.dispatch.peek import Peer, Route
from agent.dispatch.records import End
from agent.dispatch.services import Refuse, talk_service
from agent.errors import ConfigError
from tests.dispatch.rig import ask, descriptors, echo, running

WEB = [Route("web", "web", (Http(),))]
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def many(port: int, count: int, first: bytes = b"") -> list[socket.socket]:
    loop, out = asyncio.get_running_loop(), []
    for _ in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        if first:
            sock.send(first)
        out.append(sock)
    return out


async def test_a_thousand_silent_sockets_shut_nobody_out() -> None:
    before = descriptors()
    limits = Limits(silence_s=30, sniff_deadline_s=60, sniffing=256, sniffing_per_address=200)
    async with running([*WEB, Route("quiet", "web", (Silence(),))], {"web": Refuse(404)}, limits) as rig:
        silent = await many(rig.port, 1000)
        assert (await ask(rig.port, GET)).startswith(b"HTTP/1.1 404 ")
        assert rig.dispatcher.sniffing <= 200
        dropped = [r for r in rig.records if r.end is End.LIMIT]
        assert len(dropped) >= 800 and rig.dispatcher.connections <= 200
        for sock in silent:
            sock.close()
    assert descriptors() <= before


async def test_the_oldest_silent_one_goes_first() -> None:
    limits = Limits(silence_s=20, sniff_deadline_s=60, sniffing_per_address=3)
    async with running(WEB, {"web": Refuse()}, limits) as rig:
        talking = await many(rig.port, 1, b"GET / HT")
        silent = await many(rig.port, 2)
        await asyncio.sleep(0.05)
        more = await many(rig.port, 1)
        await rig.ended(1)
        assert rig.records[0].peeked_bytes == 0
        assert await asyncio.get_running_loop().sock_recv(silent[0], 1) == b""
        talking[0].send(b"TP/1.1\r\nHost: x\r\n\r\n")
        assert (await asyncio.get_running_loop().sock_recv(talking[0], 99)).startswith(b"HTTP/1.1 404")
        for sock in (*talking, *silent, *more):
            sock.close()


async def test_a_drip_of_bytes_does_not_prolong_the_deadline() -> None:
    limits = Limits(silence_s=0.2, sniff_deadline_s=0.4, linger_s=5)
    async with running(WEB, {"web": Refuse()}, limits) as rig:
        drip = (bytes((b,)) for b in GET[:-2] + b"X: " + b"y" * 100)
        said = await ask(rig.port, *drip, pause_s=0.01)
        assert said.startswith(b"HTTP/1.1 408 ")
        record = (await rig.ended())[0]
        assert record.end is End.LATE and 300 < record.decide_ms < 2000


async def test_waiting_for_more_is_waiting() -> None:
    """Bytes that are there already wake nobody again, and a drip is not answered wake for wake."""
    limits = Limits(silence_s=0.2, sniff_deadline_s=30)
    async with running(WEB, {"web": Refuse()}, limits) as rig:
        sock = (await many(rig.port, 1, b"GET /"))[0]
        await asyncio.sleep(0.3)
        arrival = next(iter(rig.dispatcher._active))
        assert 1 <= arrival.wakes <= 3
        for _ in range(300):
            sock.send(b"x")
            await asyncio.sleep(0.001)
        assert arrival.wakes < 150
        sock.close()


async def test_a_head_of_a_mebibyte_is_431() -> None:
    rules = [Route("flag", "web", (Http(header=(("x-flag", None),)),))]
    async with running(rules, {"web": Refuse()}) as rig:
        said = await ask(rig.port, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 30_000)
        assert said.startswith(b"HTTP/1.1 431 ")
        record = (await rig.ended())[0]
        assert record.peeked_bytes == 16384


async def test_a_service_has_its_own_bound() -> None:
    rules = [Route("web", "web", (Http(),)), Route("quiet", "raw", (Silence(),))]
    async with running(rules, {"web": talk_service(echo, max_connections=2), "raw": talk_service(echo)}) as rig:
        held = await many(rig.port, 2, GET)
        await asyncio.sleep(0.1)
        assert (await ask(rig.port, GET)).startswith(b"HTTP/1.1 503 ")
        assert rig.records[0].end is End.LIMIT
        for sock in held:
            sock.close()
        await rig.ended(3)
        assert await ask(rig.port, GET, end=True) == GET


async def test_connections_of_one_address_have_a_bound() -> None:
    limits = Limits(silence_s=0.2, sniff_deadline_s=0.4, connections_per_address=3)
    async with running([Route("web", "web", (Http(),))], {"web": talk_service(echo)}, limits) as rig:
        held = await many(rig.port, 3, GET)
        await asyncio.sleep(0.1)
        assert await ask(rig.port, GET) == b""
        assert rig.records[0].end is End.LIMIT
        for sock in held:
            sock.close()


def test_an_ipv6_customer_is_one_address() -> None:
    assert Peer("2001:db8:1:2::9", 1).group == Peer("2001:db8:1:2:f::1", 2).group != Peer("2001:db8:1:3::9", 1).group
    assert Peer("::ffff:192.0.2.1", 1).group == Peer("192.0.2.1", 5).group == "192.0.2.1"
    assert Peer("fe80::1%eth0", 1).group == "fe80::/64" and Peer().group == ""


async def test_out_of_descriptors_it_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """Accepting pauses, is logged once, and what is there goes on; then accepting goes on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = Limits(silence_s=20, sniff_deadline_s=60, sniffing_per_address=500)
    async with running(WEB, {"web": Refuse()}, limits) as rig:
        clients = [socket.socket() for _ in range(60)]
        spare = os.dup(0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 20, hard))
        try:
            for sock in clients:
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", rig.port))
            await asyncio.sleep(0.7)
            assert rig.dispatcher.counts.accept_pauses >= 1
            assert sum("out of file descriptors" in r.message for r in caplog.records) == 1
            for sock in clients:
                sock.close()
            assert (await ask(rig.port, GET)).startswith(b"HTTP/1.1 404 ")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            os.close(spare)


@pytest.mark.parametrize(
    ("bad", "named"),
    [({"sniffing": 0}, "sniffing"), ({"silence_s": 9.0}, "silence_s"), ({"peek_bytes": 3}, "peek_bytes")],
)
def test_limits_that_make_no_sense_name_themselves(bad: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Limits(**bad)  # type: ignore[arg-type]
