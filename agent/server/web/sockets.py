"""What a WebSocket's client sends, so that one that floods costs the others nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import WSMessage, WSMsgType, web

IN_A_ROW = 64


async def messages(ws: web.WebSocketResponse) -> AsyncIterator[WSMessage]:
    """Texts and binary messages until the end; `ws` is made with `autoping=False`: pings are answered here.

    Reading what has come already waits for nothing, and thirteen thousand small messages may have: others get their
    turn every so many.
    """
    count = 0
    while (message := await ws.receive()).type not in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED):
        count += 1
        if count % IN_A_ROW == 0:
            await asyncio.sleep(0)
        if message.type is WSMsgType.PING:
            await ws.pong(message.data)
        elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            yield message
        elif message.type is WSMsgType.ERROR:
            return
