"""First bytes of many clients, good and bad, with the route that each must get."""

import ssl
import struct

from agent.dispatch.matchers import Any, Http, Http2, Mqtt, Rtsp, Silence, Ssh, Tls
from agent.dispatch.peek import Route


def client_hello(name: str = "cam.example.org", alpn: tuple[str, ...] = ("h2", "http/1.1")) -> bytes:
    """A real ClientHello, made by OpenSSL."""
    context = ssl.create_default_context()
    if alpn:
        context.set_alpn_protocols(list(alpn))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def in_records(hello: bytes, size: int, padding: int = 0) -> bytes:
    """The same handshake message in records of `size` bytes, grown by a padding extension (RFC 7685)."""
    message = hello[5:]
    if padding:
        at = 4 + 2 + 32
        at += 1 + message[at]
        at += 2 + int.from_bytes(message[at : at + 2], "big")
        at += 1 + message[at]
        extensions = message[at + 2 :] + struct.pack(">HH", 21, padding) + bytes(padding)
        body = message[4:at] + struct.pack(">H", len(extensions)) + extensions
        message = b"\x01" + len(body).to_bytes(3, "big") + body
    cuts = [message[i : i + size] for i in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(cut).to_bytes(2, "big") + cut for cut in cuts)


ROUTES = (
    Route("secure-a", "tls-a", (Tls(sni=("a.example.org",)),)),
    Route("secure-h2", "tls-h2", (Tls(sni=("*.example.org",), alpn=("h2",)),)),
    Route("socket", "ws", (Http(paths=("/ws",), websocket=True),)),
    Route("put", "upload", (Http(methods=("PUT", "POST"), paths=("/up/*",)),)),
    Route("by-host", "vhost", (Http(hosts=("b.example.org", "*.c.example.org")),)),
    Route("by-header", "flagged", (Http(header=(("x-flag", "1"),)),)),
    Route("b", "svc-b", (Http(paths=("/b",)),)),
    Route("a", "svc-a", (Http(paths=("/a/",)),)),
    Route("h2", "h2c", (Http2(),)),
    Route("rtsp", "rtsp", (Rtsp(),)),
    Route("ssh", "ssh", (Ssh(),)),
    Route("mqtt", "mqtt", (Mqtt(),)),
    Route("ftp", "ftp", (Silence(),)),
)

HELLO = client_hello()
WS = b"Host: x\r\nConnection: keep-alive, Upgrade\r\nuPgrade: WebSocket\r\n\r\n"
V1 = b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f" + bytes((203, 0, 113, 7, 198, 51, 100, 1)) + b"\x12\x67\x01\xbb\4\0\0"

ROUTED = {
    "sni": (client_hello("a.example.org"), "secure-a"),
    "sni wildcard and alpn": (HELLO, "secure-h2"),
    "many records": (in_records(HELLO, 100), "secure-h2"),
    "hello of 9 kB": (in_records(HELLO, 4000, padding=9000), "secure-h2"),
    "get": (b"GET /a/1 HTTP/1.1\r\nHost: x\r\n\r\n", "a"),
    "exact prefix": (b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "a"),
    "query": (b"GET /b?/a HTTP/1.1\r\nHost: x\r\n\r\n", "b"),
    "empty lines first": (b"\r\n\r\nGET /b HTTP/1.0\r\n\r\n", "b"),
    "dots": (b"GET /a/../b/./c HTTP/1.1\r\nHost: x\r\n\r\n", "b"),
    "percent": (b"GET /%61/%2e%2e/%62//x HTTP/1.1\r\nHost: x\r\n\r\n", "b"),
    "absolute": (b"GET http://B.example.org:80/zz HTTP/1.1\r\nHost: other\r\n\r\n", "by-host"),
    "host": (b"GET / HTTP/1.1\r\nHost: x.C.example.org:8080\r\n\r\n", "by-host"),
    "connect": (b"CONNECT b.example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n", "by-host"),
    "header": (b"GET /b HTTP/1.1\r\nHost: x\r\nX-Flag: 1\r\n\r\n", "by-header"),
    "websocket": (b"GET /ws HTTP/1.1\r\n" + WS + b"\x81\x80\0\0\0\0", "socket"),
    "put": (b"PUT /up/x.jpg HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", "put"),
    "chunked": (b"POST /up/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", "put"),
    "h2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0", "h2"),
    "rtsp": (b"OPTIONS rtsp://cam/1 RTSP/1.0\r\nCSeq: 1\r\n\r\n", "rtsp"),
    "rtsp star": (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", "rtsp"),
    "ssh": (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "ssh"),
    "mqtt 3.1.1": (b"\x10\x0c\0\4MQTT\4\2\0\x3c\0\0", "mqtt"),
    "mqtt 3.1 long": (b"\x10\x8c\1\0\6MQIsdp\3\2\0\x3c" + b"x" * 126, "mqtt"),
}

REFUSED = {
    "no route": (b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "prefix is not a segment": (b"GET /ab HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "two hosts": (b"GET /a HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
    "no host": (b"GET /a HTTP/1.1\r\n\r\n", 400),
    "length and chunked": (
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    "two lengths": (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", 400),
    "signed length": (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\n", 400),
    "odd coding": (b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
    "coding in 1.0": (b"POST /a HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "folded": (b"GET /a HTTP/1.1\r\nHost: x\r\nX-A: 1\r\n  2\r\n\r\n", 400),
    "space before colon": (b"GET /a HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    "bare line feed in the line": (b"GET /a HTTP/1.1\nHost: x\r\n\r\n", 400),
    "bare line feed in the head": (b"GET /a HTTP/1.1\r\nHost: x\nX-B: 1\r\n\r\n", 400),
    "bare carriage return": (b"GET /a HTTP/1.1\r\nHost: x\r\nX-B: 1\rX-C: 2\r\n\r\n", 400),
    "nul in a header": (b"GET /a HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", 400),
    "nul in the target": (b"GET /a\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "two spaces": (b"GET  /a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "encoded slash": (b"GET /a%2F..%2Fb HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "above the root": (b"GET /a/../../b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "bad percent": (b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "backslash": (b"GET /a\\..\\b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "bad host": (b"GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "version 3": (b"GET /a HTTP/3.0\r\nHost: x\r\n\r\n", 505),
    "nul garbage": (bytes(50), 0),
    "tls garbage": (b"\x16" + b"\xaa" * 60, 0),
    "tls nobody": (client_hello("other.test"), -1),
    "tls half known": (client_hello("b.example.org", ()), -1),
    "smtp": (b"EHLO me\r\n", 0),
    "http 0.9": (b"GET /a\r\n", 0),
    "proxy v1": (V1 + b"GET /a HTTP/1.0\r\n\r\n", 0),
    "proxy v2": (V2 + b"GET /a HTTP/1.0\r\n\r\n", 0),
}

CATCH_ALL = (*ROUTES, Route("rest", "rest", (Any(),)))
