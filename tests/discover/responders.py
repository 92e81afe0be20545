"""Small real responders on loopback: an UPnP device, an ONVIF camera, an mDNS host; each on its true port and group."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.pictures import always, raw_server

Reply = Callable[[bytes], list[bytes]]

DESCRIPTION = """<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion>
<device><deviceType>{kind}</deviceType><friendlyName>{name}</friendlyName><manufacturer>{maker}</manufacturer>
<modelDescription>{about}</modelDescription><modelName>{model}</modelName>
<presentationURL>http://127.0.0.1:{port}/</presentationURL></device></root>"""


@asynccontextmanager
async def group(address: str, port: int, reply: Reply) -> AsyncIterator[list[bytes]]:
    """Joins `address` on loopback and answers what it is asked there; yields the questions."""
    asked: list[bytes] = []

    class Responder(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            asked.append(data)
            for answer in reply(data):
                self.transport.sendto(answer, addr)  # type: ignore[attr-defined]

    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((address, port))
    sock.setsockopt(
        socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(address) + socket.inet_aton("127.0.0.1")
    )
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Responder, sock=sock)
    try:
        yield asked
    finally:
        transport.close()


@asynccontextmanager
async def upnp(description: bytes, location: str = "") -> AsyncIterator[list[bytes]]:
    """An UPnP root device; `location` is where it says that its description is."""
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n" % len(description) + description
    async with raw_server(always(page)) as port:
        where = location or f"http://127.0.0.1:{port}/desc.xml"

        def reply(data: bytes) -> list[bytes]:
            if not data.startswith(b"M-SEARCH") or b'MAN: "ssdp:discover"' not in data:
                return []
            answer = (
                f"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=1800\r\nEXT:\r\nLocation: {where}\r\nST: upnp:rootdevice"
            )
            return [answer.encode() + b"\r\nUSN: uuid:1::upnp:rootdevice\r\n\r\n"]

        async with group("239.255.255.250", 1900, reply) as asked:
            yield asked


@asynccontextmanager
async def onvif(xaddrs: str = "http://127.0.0.1/onvif/device_service") -> AsyncIterator[list[bytes]]:
    """A network video transmitter."""

    def reply(data: bytes) -> list[bytes]:
        id_ = re.search(rb"MessageID>([^<]+)<", data)
        if id_ is None or b"NetworkVideoTransmitter" not in data:
            return []
        return [
            b'<?xml version="1.0"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
            b'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" '
            b'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"><s:Header><a:RelatesTo>'
            + id_[1]
            + b"</a:RelatesTo>"
            b"</s:Header><s:Body><d:ProbeMatches><d:ProbeMatch><d:Types>dn:NetworkVideoTransmitter</d:Types>"
            b"<d:Scopes>onvif://www.onvif.org/type/video_encoder onvif://www.onvif.org/hardware/DS-2CD2 "
            b"onvif://www.onvif.org/name/Back%20yard</d:Scopes><d:XAddrs>" + xaddrs.encode() + b"</d:XAddrs>"
            b"</d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"
        ]

    async with group("239.255.255.250", 3702, reply) as asked:
        yield asked


MEDIA = (
    (b"GetCapabilities", "<C><Media><XAddr>{media}</XAddr></Media></C>"),
    (
        b"GetProfiles",
        '<Profiles token="small"><VideoEncoderConfiguration><Width>640</Width><Height>360</Height>'
        '</VideoEncoderConfiguration></Profiles><Profiles token="big"><VideoEncoderConfiguration><Width>1920</Width>'
        '<Height>1080</Height></VideoEncoderConfiguration></Profiles><Profiles token="sound"/>',
    ),
    (b">small<", "<Uri>rtsp://{host}:554/a,b</Uri>"),
    (b">big<", "<Uri>rtsp://admin:admin@{host}:554/cam?channel=1&amp;subtype=0</Uri>"),
)


@asynccontextmanager
async def onvif_media(how: str = "tells") -> AsyncIterator[tuple[str, list[bytes]]]:
    """The device and media services of a camera that tells its streams to everybody, or does not."""
    asked: list[bytes] = []

    async def script(request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = request.partition(b"\r\n\r\n")[2]
        while b"Envelope>" not in body:
            body += await reader.read(65536)
        asked.append(request + body)
        if how == "silent":
            await asyncio.sleep(60)
        host = "192.0.2.1" if how == "elsewhere" else "127.0.0.1"
        port = writer.get_extra_info("sockname")[1]
        text = next(t for word, t in MEDIA if word in body).format(media=f"http://127.0.0.1:{port}/media", host=host)
        answer = f'<E xmlns="http://www.onvif.org/ver10/schema">{text}</E>'.encode()
        if how == "garbage":
            answer = b"\0<<<"
        status = b"401 Unauthorized" if how == "refuses" else b"200 OK"
        writer.write(b"HTTP/1.1 " + status + b"\r\nServer: gSOAP\r\n\r\n" + answer)
        while how == "endless":
            writer.write(bytes(65536))
            await writer.drain()

    async with raw_server(script) as port:
        yield f"http://127.0.0.1:{port}/onvif/device_service", asked


def name(text: str) -> bytes:
    return b"".join(bytes([len(x)]) + x.encode() for x in text.split(".")) + b"\0"


def record(owner: bytes, kind: int, data: bytes) -> bytes:
    return owner + struct.pack(">HHIH", kind, 1, 120, len(data)) + data


def mdns_answer() -> bytes:
    """PTR, SRV and A of an Axis camera, with names compressed as responders do it."""
    head = struct.pack(">6H", 0, 0x8400, 0, 1, 0, 2)
    service = name("_axis-video._tcp.local")  # at 12
    instance = bytes([10]) + b"AXIS porch" + struct.pack(">H", 0xC000 | 12)
    body = record(service, 12, instance)
    instance_at = 12 + len(service) + 10
    pointer = struct.pack(">H", 0xC000 | instance_at)
    host = name("axis-porch.local")
    body += record(pointer, 33, struct.pack(">HHH", 0, 0, 8080) + host)
    body += record(host, 1, socket.inet_aton("127.0.0.7"))
    return head + body


@asynccontextmanager
async def mdns(answer: bytes) -> AsyncIterator[list[bytes]]:
    def reply(data: bytes) -> list[bytes]:
        return [answer] if b"_axis-video" in data else []

    async with group("224.0.0.251", 5353, reply) as asked:
        yield asked
