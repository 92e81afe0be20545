"""Cameras on the network, found by real questions on real multicast groups of the loopback interface."""

import asyncio
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import app
from agent.discover import Found, find, mdns, onvif, ssdp
from agent.discover.families import family, line
from agent.discover.text import xml
from agent.sources.rtsp import RtspSource
from tests.discover import responders
from tests.discover.responders import DESCRIPTION

LIMIT_S = 1.5


def description(**how: object) -> bytes:
    dcs920 = {
        "kind": "urn:schemas-upnp-org:device:Basic:1.0",
        "name": "DCS-920",
        "maker": "D-Link",
        "model": "DCS-920",
        "about": "Wireless Internet Camera",
        "port": 80,
    }
    return DESCRIPTION.format(**(dcs920 | how)).encode()


def loads(found: Found, tmp_path: Path) -> app.AgentConfig:
    """The line is one that the configuration takes."""
    (tmp_path / "FILE").write_text("secret\n")
    source = found.yaml.replace("FILE", str(tmp_path / "FILE")).replace("PATH", "live")
    file = tmp_path / "config.yaml"
    file.write_text(f"cameras:\n  porch:\n    source: {source}\nserver: {{}}\n")
    return app.load(file)


async def test_a_dcs920_announces_itself(tmp_path: Path) -> None:
    async with responders.upnp(description()) as asked:
        found = await ssdp.find(LIMIT_S)
    assert found == [
        Found("ssdp", "DCS-920", "127.0.0.1", "D-Link DCS-920", "{type: dcs920, host: 127.0.0.1, password_file: FILE}")
    ]
    assert loads(found[0], tmp_path).cameras[0].source.label == "http://127.0.0.1/video.cgi"
    assert all(b"ST: upnp:rootdevice" in a for a in asked)


async def test_other_cameras_and_other_devices() -> None:
    async with responders.upnp(description(maker="ACME", model="IPCam 7", name="Yard", port=8080)):
        found = await ssdp.find(LIMIT_S)
    yaml = "{type: mjpeg, url: http://127.0.0.1:8080/PATH, username: USER, password_file: FILE}"
    assert [f.yaml for f in found] == [yaml]
    async with responders.upnp(description(maker="ACME", model="Router", about="Internet gateway", name="Router")):
        assert await ssdp.find(0.8) == []


@pytest.mark.parametrize(
    "answer",
    [
        b"<root>not ended",
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><root><modelName>DCS-920 &a;</modelName></root>',
        b"",
        b"\0" * 100_000,
    ],
)
async def test_descriptions_that_are_none(answer: bytes) -> None:
    async with responders.upnp(answer):
        assert await ssdp.find(0.8) == []


async def test_nobody_is_asked_whom_a_stranger_names() -> None:
    asked = 0

    async def script(_: bytes, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1

    async with responders.raw_server(script) as port, responders.upnp(description(), f"http://localhost:{port}/"):
        assert await ssdp.find(0.8) == []
    assert not asked


async def test_a_location_that_is_no_address_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    async with responders.upnp(description(), "http://[camera]/desc.xml"):
        assert await ssdp.find(0.8) == []
    assert not caplog.records


async def test_terminal_tricks_do_not_reach_the_terminal() -> None:
    async with responders.upnp(description(name="DCS&#x9b;31m&#x202e;920", model="DCS-920")):
        (found,) = await ssdp.find(LIMIT_S)
    assert found.name.isprintable() and "\x9b" not in found.name


async def test_an_onvif_camera(tmp_path: Path) -> None:
    async with responders.onvif() as asked:
        found = await onvif.find(0.8)
    yaml = "{type: rtsp, url: rtsp://127.0.0.1/PATH, username: USER, password_file: FILE}"
    assert found == [Found("onvif", "Back yard", "127.0.0.1", "DS-2CD2", yaml)]
    assert len({a.split(b"MessageID>")[1] for a in asked}) == 1
    assert loads(found[0], tmp_path).cameras[0].source.label == "rtsp://127.0.0.1/live"
    async with responders.onvif("http://192.0.2.1/onvif"):
        assert await onvif.find(0.5) == [], "it speaks of another host than itself"


async def test_an_onvif_camera_that_tells_its_streams_without_a_login(tmp_path: Path) -> None:
    async with responders.onvif_media() as (url, asked), responders.onvif(url):
        [found] = await onvif.find(2.0)
    big, small = "rtsp://127.0.0.1:554/cam?channel=1&subtype=0", '"rtsp://127.0.0.1:554/a,b"'
    assert found.yaml == f"{{type: rtsp, url: {big}, substream: {small}, username: USER, password_file: FILE}}"
    assert isinstance(loads(found, tmp_path).cameras[0].source, RtspSource)
    assert not any(b"uthorization" in a or b"Security" in a for a in asked)


@pytest.mark.parametrize("how", ["refuses", "elsewhere", "silent", "garbage", "endless"])
async def test_an_onvif_camera_that_does_not(how: str) -> None:
    async with responders.onvif_media(how) as (url, _), responders.onvif(url):
        async with asyncio.timeout(3):
            [found] = await onvif.find(1.0)
    assert "rtsp://127.0.0.1/PATH, username: USER" in found.yaml


async def test_a_camera_by_mdns(tmp_path: Path) -> None:
    async with responders.mdns(responders.mdns_answer()):
        found = await mdns.find(0.8)
    yaml = "{type: ipcam, preset: axis, host: 127.0.0.7, port: 8080, password_file: FILE}"
    assert found == [Found("mdns", "AXIS porch", "127.0.0.7", "axis-video", yaml)]
    assert loads(found[0], tmp_path).cameras[0].source.label == "http://127.0.0.7:8080/axis-cgi/mjpg/video.cgi"


@given(st.binary(max_size=300), st.integers(0, 200))
def test_no_answer_of_mdns_breaks_the_reader(noise: bytes, at: int) -> None:
    answer = responders.mdns_answer()
    for data in (noise, answer[:at], answer[:at] + noise + answer[at + len(noise) :]):
        records = mdns.Records()
        try:
            mdns.read(data, records)
        except (ValueError, struct.error):
            continue
        assert len(records.instances) <= 256


async def test_all_ways_at_once_within_the_time() -> None:
    async with (
        asyncio.timeout(60),
        responders.upnp(description()),
        responders.onvif(),
        responders.mdns(responders.mdns_answer()),
    ):
        found = await find(LIMIT_S)
    assert {f.way for f in found} >= {"ssdp", "onvif", "mdns"}


def test_families() -> None:
    assert family("D-Link DCS-932LB") == "dcs930" and family("AXIS M1011 by Axis") == "axis" and family("ACME") == ""
    assert line("", "h", 81) == "{type: mjpeg, url: http://h:81/PATH, username: USER, password_file: FILE}"


def test_xml_with_entities_is_refused() -> None:
    with pytest.raises(ValueError, match="document type"):
        xml(b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>')
    assert xml(b"<x><!-- fine --><y/></x>").tag == "x"
