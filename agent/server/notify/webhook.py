"""CloudEvents by HTTP POST, signed as Standard Webhooks (standardwebhooks.com) says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from urllib.parse import urlsplit

import aiohttp

from agent.errors import TransientError
from agent.server.notify import Note
from agent.trust import trust

TIMEOUT_S = 10.0


def signature(secret: str, id_: str, at_s: int, body: str) -> str:
    """`v1,` and the Base64 of HMAC-SHA256 over `id.timestamp.body`; `whsec_…` secrets are Base64 themselves."""
    key = secret.encode()
    if secret.startswith("whsec_"):
        key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{id_}.{at_s}.{body}".encode(), hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


class Webhook:
    """Any answer but 2xx is a failure; redirects are not followed."""

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._secret = secret

    @property
    def label(self) -> str:
        return f"webhook at {urlsplit(self._url).hostname}"

    async def send(self, note: Note) -> None:
        at_s = int(time.time())
        headers = {
            "Content-Type": "application/cloudevents+json",
            "webhook-id": note.id,
            "webhook-timestamp": str(at_s),
        }
        if self._secret:
            headers["webhook-signature"] = signature(self._secret, note.id, at_s, note.body)
        try:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.post(
                    self._url,
                    data=note.body.encode(),
                    headers=headers,
                    allow_redirects=False,
                    ssl=trust(self.label) if self._url.startswith("https:") else True,
                ) as answer,
            ):
                if not 200 <= answer.status < 300:
                    raise TransientError(f"answered {answer.status}")
        except (TimeoutError, aiohttp.ClientError, OSError) as e:
            raise TransientError(type(e).__name__) from None
