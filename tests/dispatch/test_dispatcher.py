"""The port as clients see it: thirteen cases, reloading, draining, what is recorded and counted."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import pytest

from agent.dispatch.dispatcher import Dispatcher
from agent.dispatch.limits import Limits
from agent.dispatch.matchers import Http, Silence
from agent.dispatch.peek import Route
from agent.dispatch.records import End
from agent.dispatch.relay import Relay
from agent.dispatch.services import Refuse, talk_service
from agent.errors import ConfigError
from tests.dispatch import cases
from tests.dispatch.rig import Rig, ask, backend, descriptors, echo, running

ROUTES = (
    Route("a", "a", (Http(paths=("/a",)),)),
    Route("b", "b", (Http(paths=("/b",)),)),
    Route("silent", "ftp", (Silence(),)),
)
TIMER_S = 0.3


@pytest.fixture
async def port() -> AsyncIterator[Rig]:
    limits = Limits(silence_s=TIMER_S, sniff_deadline_s=2.0, keepalive_s=TIMER_S, linger_s=0.5)
    async with (
        backend(cases.http("A")) as a,
        backend(cases.http("B")) as b,
        backend(cases.greeter) as ftp,
    ):
        services = {
            "a": Relay("127.0.0.1", a, http="framed"),
            "b": Relay("127.0.0.1", b, http="framed"),
            "ftp": Relay("127.0.0.1", ftp),
        }
        async with running(ROUTES, services, limits) as rig:
            yield rig


@pytest.mark.parametrize("name", cases.CASES)
async def test_case(port: Rig, name: str) -> None:
    case, right = cases.CASES[name]
    before = descriptors()
    assert cases.heard(await case(port.port, TIMER_S)) in right
    await port.ended()
    await asyncio.sleep(0.05)
    assert descriptors() <= before and port.dispatcher.connections == 0


async def test_a_reload_leaves_running_connections_alone() -> None:
    async def name(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"new")

    routes = [Route("all", "one", (Http(),))]
    async with running(routes, {"one": talk_service(echo)}) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(cases.get("/"))
        assert await reader.readexactly(4) == b"GET "
        sniffed, half = await asyncio.open_connection("127.0.0.1", rig.port)
        half.write(b"GET / HT")
        await asyncio.sleep(0.05)
        rig.dispatcher.replace([Route("all", "two", (Http(),))], {"two": talk_service(name)})
        assert await ask(rig.port, cases.get("/")) == b"new"
        writer.write(b"still")
        assert (await reader.readuntil(b"still")).endswith(b"still")
        half.write(b"TP/1.1\r\nHost: x\r\n\r\n")
        assert (await sniffed.readexactly(4)) == b"GET "
        for w in (writer, half):
            w.close()
        with pytest.raises(ConfigError, match="no service 'three'"):
            rig.dispatcher.replace([Route("all", "three")], {})
        assert await ask(rig.port, cases.get("/")) == b"new"


async def test_closing_drains_and_then_ends() -> None:
    records = []
    dispatcher = Dispatcher([Route("all", "s", (Http(),))], {"s": talk_service(echo)}, on_record=records.append)
    port = await dispatcher.start()
    finishing = await asyncio.open_connection("127.0.0.1", port)
    staying = await asyncio.open_connection("127.0.0.1", port)
    for _, writer in (finishing, staying):
        writer.write(cases.get("/"))
    await asyncio.sleep(0.05)
    closing = asyncio.create_task(dispatcher.close(drain_s=0.3))
    await asyncio.sleep(0.05)
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", port)
    finishing[1].write(b"more")
    await finishing[0].readuntil(b"more")
    finishing[1].close()
    await closing
    assert [r.end for r in records] == [End.DONE, End.DRAINED]
    staying[1].close()


async def test_each_connection_is_a_line_and_a_count(port: Rig, caplog: pytest.LogCaptureFixture) -> None:
    from agent.dispatch.records import log_record

    await ask(port.port, cases.get("/a/1"), end=True)
    record = (await port.ended())[0]
    with caplog.at_level(logging.INFO, "agent.dispatch"):
        log_record(record)
    said = json.loads(caplog.messages[-1].removeprefix("connection "))
    assert said["rule"] == said["service"] == "a" and said["peeked_bytes"] == len(cases.get("/a/1"))
    assert said["in_bytes"] == len(cases.get("/a/1")) and said["out_bytes"] > 40 and said["end"] == "client-eof"
    text = "\n".join(port.dispatcher.counts.lines())
    assert 'dispatch_connections_total{rule="a",service="a",end="client-eof"} 1' in text
    assert 'dispatch_bytes_total{service="a",way="in"}' in text


async def test_an_odd_client_ends_up_in_the_record_as_printable_text() -> None:
    async with running([Route("f", "f", (Http(paths=("/f",)),))], {"f": Refuse()}) as rig:
        await ask(rig.port, b"GET /\x80\x9b31m HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await rig.ended())[0].why.isprintable()
