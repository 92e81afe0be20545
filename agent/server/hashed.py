"""How secrets are kept: tokens, codes and links have enough bits of their own, so a plain hash hides them."""

from __future__ import annotations

import hashlib


def sha(secret: str) -> bytes:
    """SHA-256 of the text, of whatever characters a stranger put into it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
