"""TLS by certificate files that are read again when they change."""

from __future__ import annotations

import os
import ssl

from agent.errors import UsageError
from agent.exits import CONFIG


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
