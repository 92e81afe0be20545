"""TLS by certificate files that are read again when they change."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

from agent.errors import UsageError
from agent.exits import CONFIG
from agent.pins import pin_of


class Tls:
    """`pages` for HTTP and FTP's control connections, `data` for FTP's uploads.

    Session tickets are off for data: a client that only writes never reads them, and its close then resets the
    connection before the last bytes are read. Raises UsageError (78) naming the file that cannot be used.
    """

    def __init__(self, cert: str, key: str) -> None:
        self._files = (cert, key)
        self._seen: tuple[int, ...] = ()
        self.pages = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.data = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.data.num_tickets = 0
        self.pages.set_alpn_protocols(["http/1.1"])
        self.reload()

    def reload(self) -> bool:
        """Take over files that changed, for connections from now on; True when there was something to."""
        try:
            seen = tuple(os.stat(path).st_mtime_ns for path in self._files)
            if seen == self._seen:
                return False
            for context in (self.pages, self.data):
                context.load_cert_chain(*self._files)
        except (OSError, ssl.SSLError) as e:
            name = getattr(e, "filename", None) or " and ".join(self._files)
            raise UsageError(f"cannot use the TLS files: {name}: {e.strerror or e}", CONFIG) from None
        self._seen = seen
        return True

    def pin(self, base: str, port: int) -> str | None:
        """What a client needs to know the server at `base` by its key.

        None where what this machine trusts certifies it, and where `base` is not at `port`: a proxy has its own key.
        """
        parts = urlsplit(base)
        if parts.scheme != "https" or (parts.port or 443) != port:
            return None
        client = ssl.create_default_context()
        try:
            self._meet(client, parts.hostname or "")
        except ssl.SSLCertVerificationError:
            client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
            return pin_of(self._meet(client, ""))
        return None

    def _meet(self, context: ssl.SSLContext, host: str) -> bytes:
        """Our certificate as a client gets it. Raises SSLCertVerificationError where it does not trust that."""
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = self.pages.wrap_bio(there, back, server_side=True)
        client = context.wrap_bio(back, there, server_hostname=host or None)
        while (certificate := _certificate(client)) is None:
            for side in (client, server):
                with suppress(ssl.SSLWantReadError):
                    side.do_handshake()
        return certificate


def _certificate(client: ssl.SSLObject) -> bytes | None:
    try:
        return client.getpeercert(binary_form=True)
    except ValueError:  # the handshake is not done
        return None
