"""The WebSocket uplink `camera-agent.v1` (docs/protocol.md): items for certain, live frames while somebody looks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from urllib.parse import quote

import aiohttp

from agent.errors import GoneError, PermanentError, TransientError
from agent.exits import PERMISSION
from agent.media import wire
from agent.sinks import Feed
from agent.sinks.httpline import retry_after
from agent.sinks.secret import bare, check_pin, check_scheme, label_of, pin_of, token_of
from agent.sinks.uplink import Session, plain
from agent.trust import distrusted, trust

CONNECT_S = 10.0
CLOSE_S = 2.0

_REFUSALS = {
    401: "refuses the token (401)",
    403: "refuses the token (403)",
    404: "has no camera of this name for this token (404)",
    426: "does not speak camera-agent.v1 (426)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketSink:
    """Streams to a camera server. `url` is `ws://host:port` or `wss://…`; `token` as `virtual add` printed it.

    `{camera}` in `token_file` is the camera's name: each has a token of its own.
    `ca_file`: the certificates to trust instead of the system's; of a server that nobody certifies, the address may end
    with its key (`#sha256//…`, as `virtual add` prints it).
    """

    url: str
    token: str = field(default="", repr=False)
    token_file: str | None = None
    ca_file: str | None = None

    def __post_init__(self) -> None:
        check_scheme(self.url, "ws", "wss")
        check_pin(self.url)

    @property
    def label(self) -> str:
        return label_of(self.url)

    async def run(self, feed: Feed) -> None:
        token = token_of(self.label, self.token, self.token_file, self.url, feed.camera)
        async with aiohttp.ClientSession() as http:
            ws = await self._connect(http, f"{bare(self.url)}/v1/cam/{quote(feed.camera)}/stream", token)
            try:
                await Session(ws, feed, self.label).run()
            finally:
                # A peer that never reads keeps close() waiting: bound it.
                try:
                    async with asyncio.timeout(CLOSE_S):
                        await ws.close()
                except (TimeoutError, aiohttp.ClientError, ConnectionError):
                    pass

    async def _connect(self, http: aiohttp.ClientSession, url: str, token: str) -> aiohttp.ClientWebSocketResponse:
        try:
            async with asyncio.timeout(CONNECT_S):
                return await http.ws_connect(
                    url,
                    ssl=trust(self.label, self.ca_file, pin_of(self.url)) if url.startswith("wss:") else True,
                    protocols=(wire.SUBPROTOCOL,),
                    headers={"Authorization": f"Bearer {token}"},
                    max_msg_size=wire.MAX_MESSAGE_BYTES,
                    autoping=False,
                    compress=0,
                )
        except aiohttp.WSServerHandshakeError as e:
            if e.status == 410:
                raise GoneError(
                    f"{self.label}: the server says that this camera was deleted or has ended (410)"
                ) from None
            if e.status in _REFUSALS:
                code = PERMISSION if e.status in (401, 403) else 69
                raise PermanentError(f"{self.label}: the server {_REFUSALS[e.status]}", code) from None
            wait_s = retry_after(e.headers.get("Retry-After", "") if e.headers else "")
            raise TransientError(f"{self.label}: the server answers {e.status}", wait_s) from None
        except aiohttp.InvalidURL:
            raise PermanentError(f"{self.label}: not a WebSocket URL") from None
        except TimeoutError:
            raise TransientError(f"{self.label}: no answer within {CONNECT_S:g} s") from None
        except aiohttp.ClientConnectorCertificateError as e:
            raise PermanentError(f"{self.label}: {distrusted(e.certificate_error)}") from None
        except (aiohttp.ClientError, OSError) as e:
            raise TransientError(f"{self.label}: {plain(e)}") from None
