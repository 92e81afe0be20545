"""Servers that nobody certifies, known by their key: `sha256//BASE64`, as curl's `--pinnedpubkey` has it."""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
from collections.abc import Iterator

PIN = re.compile(r"sha256//[A-Za-z0-9+/]{43}=")


def pin_of(certificate: bytes) -> str:
    """The pin of a certificate in DER: of its key, so that a renewed one with the same key has the same."""
    return "sha256//" + base64.b64encode(hashlib.sha256(public_key(certificate)).digest()).decode()


class OtherKey(ssl.SSLCertVerificationError):
    """The server has another key than the pin names."""


class Pinned(ssl.SSLContext):
    """A client's context for the server with this key alone, whatever its certificate says and whoever signed it.

    A handshake proves that the server has the key of its certificate; it raises OtherKey where that is not the one.
    """

    pin: str

    def __new__(cls, pin: str) -> Pinned:
        self = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        self.check_hostname, self.verify_mode = False, ssl.CERT_NONE
        self.sslobject_class, self.sslsocket_class = _Object, _Socket
        self.pin = pin
        return self


class _Object(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        _check(self)


class _Socket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        _check(self)


def _check(end: ssl.SSLObject | ssl.SSLSocket) -> None:
    certificate = end.getpeercert(binary_form=True)
    if not isinstance(end.context, Pinned) or certificate is None or pin_of(certificate) != end.context.pin:
        raise OtherKey("its key is not the one that is expected")


def public_key(certificate: bytes) -> bytes:
    """The SubjectPublicKeyInfo of an X.509 certificate, both in DER (RFC 5280, 4.1)."""
    signed = next(_within(certificate))
    fields = list(_within(signed))
    return fields[6 if fields[0][0] == 0xA0 else 5]  # the version stands first, where there is one


def _within(der: bytes) -> Iterator[bytes]:
    """The elements of a constructed one (X.690, 8.1), each with its head."""
    at, end = _extent(der, 0)
    while at < end:
        _, stop = _extent(der, at)
        yield der[at:stop]
        at = stop


def _extent(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at `at` begins and ends."""
    length, begin = der[at + 1], at + 2
    if length >= 0x80:
        begin += length - 0x80
        length = int.from_bytes(der[at + 2 : begin], "big")
    return begin, begin + length
