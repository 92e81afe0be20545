"""Basic and Digest against a server that checks them by the RFC's own arithmetic."""

import asyncio
import hashlib
import re

import pytest

from agent.errors import PermanentError
from agent.sources.login import Login
from agent.sources.mjpeg import MjpegSource
from tests.pictures import collect, jpegs, raw_server

PICTURES = jpegs(2)


class DigestCamera:
    """Lets in who answers its challenge (RFC 7616); `uses` is how often a nonce is good."""

    def __init__(self, algorithm: str = "", qop: str = "", uses: int = 1000) -> None:
        self.algorithm, self.qop, self.uses = algorithm, qop, uses
        self.nonce, self.used, self.asked = 0, 0, 0

    async def script(self, head: bytes, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        found = re.search(r"(?mi)^Authorization: Digest (.*?)\r$", head.decode())
        fields = {k: q or v for k, q, v in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', found[1])} if found else {}
        right = bool(fields) and fields["response"] == self._want(fields)
        fresh = fields.get("nonce") == f"n{self.nonce}" and self.used < self.uses
        if right and fresh:
            self.used += 1
            body = b"".join(b"--b\r\nContent-Length: %d\r\n\r\n" % len(p) + p for p in PICTURES)
            writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace\r\n\r\n" + body)
            return
        self.nonce, self.used = self.nonce + 1, 0
        extra = (f", algorithm={self.algorithm}" if self.algorithm else "") + (
            f', qop="{self.qop}"' if self.qop else ""
        )
        stale = ", stale=true" if right else ""
        challenge = f'Digest realm="DCS, 920", nonce="n{self.nonce}", opaque="o"{extra}{stale}'
        writer.write(
            f'HTTP/1.0 401 No\r\nWWW-Authenticate: {challenge}\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n'.encode()
        )

    def _want(self, f: dict[str, str]) -> str:
        name = "sha256" if "256" in self.algorithm else "md5"

        def h(text: str) -> str:
            return hashlib.new(name, text.encode()).hexdigest()

        ha1, ha2 = h("bob:DCS, 920:se cret"), h(f"GET:{f['uri']}")
        if self.algorithm.lower().endswith("-sess"):
            ha1 = h(f"{ha1}:{f['nonce']}:{f['cnonce']}")
        middle = f"{f['nonce']}:{f['nc']}:{f['cnonce']}:{f['qop']}" if self.qop else f["nonce"]
        return h(f"{ha1}:{middle}:{ha2}")


@pytest.mark.parametrize("algorithm", ["", "MD5", "SHA-256", "MD5-sess"])
@pytest.mark.parametrize("qop", ["", "auth", "auth-int,auth"])
async def test_digest(algorithm: str, qop: str) -> None:
    camera = DigestCamera(algorithm, qop)
    async with raw_server(camera.script) as port:
        frames, _ = await collect(MjpegSource(f"http://bob:se%20cret@127.0.0.1:{port}/v.cgi?a=b"))
    assert [f.data for f in frames] == PICTURES and camera.asked == 2


async def test_a_wrong_password_is_tried_once() -> None:
    camera = DigestCamera("MD5", "auth")
    async with raw_server(camera.script) as port:
        _, error = await collect(MjpegSource(f"http://bob:other@127.0.0.1:{port}/"))
    assert isinstance(error, PermanentError) and error.exit_code == 77 and camera.asked == 2


async def test_a_stale_nonce_is_replaced() -> None:
    camera = DigestCamera("MD5", "auth", uses=1)
    login = Login("bob", "se cret")
    from agent.sources.http import Url
    from agent.sources.stream import get

    async with raw_server(camera.script) as port:
        for _ in range(3):
            answer = await get(Url.parse(f"http://127.0.0.1:{port}/"), login, 5)
            assert answer.head.status == 200
            await answer.connection.close()
    assert camera.asked == 2 + 2 + 2


async def test_a_camera_that_finds_every_nonce_stale_is_not_asked_for_ever() -> None:
    camera = DigestCamera("MD5", "auth", uses=0)
    async with raw_server(camera.script) as port:
        _, error = await collect(MjpegSource(f"http://bob:se%20cret@127.0.0.1:{port}/"))
    assert isinstance(error, PermanentError) and error.exit_code == 77 and camera.asked == 3


def test_without_credentials_nothing_is_sent() -> None:
    login = Login("", "")
    assert login.field("/") == "" and not login.challenged(['Digest realm="x", nonce="y"'])


def test_what_cannot_be_answered_is_not_tried() -> None:
    login = Login("u", "p")
    assert not login.challenged(['Digest realm="x", nonce="y", algorithm=SHA-512-256'])
    assert not login.challenged(["Negotiate", 'Basic realm="x"'])
    assert "p" not in repr(login).replace("Login", "")


def test_the_stronger_of_two_challenges_is_answered() -> None:
    login = Login("u", "p")
    assert login.challenged(
        ['Digest realm="x", nonce="1", algorithm=MD5, Digest realm="x", nonce="2", algorithm=SHA-256']
    )
    assert 'nonce="2"' in login.field("/") and "algorithm=SHA-256" in login.field("/")
