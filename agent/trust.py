"""Which certificates our clients believe in, read only where a URL asks for TLS."""

from __future__ import annotations

import ssl
import sys

from agent.errors import PermanentError
from agent.pins import OtherKey, Pinned


def trust(label: str, ca_file: str | None = None, pin: str = "") -> ssl.SSLContext:
    """The server with the key that `pin` names; else what `ca_file` certifies, else what the system does.

    Raises PermanentError, begun with `label`, for a file that cannot be read or holds no certificates.
    """
    if pin:
        return Pinned(pin)
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as e:
        raise PermanentError(f"{label}: ca_file {ca_file}: {e.strerror or 'no certificates in it'}") from None


def distrusted(e: BaseException) -> str:
    """In words, that the other end's certificate was not believed, why, and what would help."""
    if isinstance(e, OtherKey):
        return "it has another key than the address says, or is another server (`#sha256//…`)"
    reason = getattr(e, "verify_message", "") or str(e)
    return f"its certificate is not trusted: {reason} (`ca_file`, or SSL_CERT_FILE, says what is)"


def forget_certificates() -> None:
    """Give back the two copies of the system's certificates that aiohttp reads when it is imported (1 MB).

    Ours bring their own. What is put instead believes in nobody, so whoever forgets to is refused.
    """
    connector = sys.modules.get("aiohttp.connector")
    for name in ("_SSL_CONTEXT_VERIFIED", "_SSL_CONTEXT_UNVERIFIED"):
        if hasattr(connector, name):
            setattr(connector, name, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
