"""Commands on their way to one agent: numbered, with an end, and answered or not."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from agent.clock import Clock
from agent.server.digest import text

LIFE_S = 10.0
MAX_OPEN = 16
LONGEST_ERROR = 200


class Requests:
    """`ask` sends a `cmd` and waits for its `done` (docs/protocol.md)."""

    def __init__(self, send: Callable[[dict[str, Any]], Awaitable[None]], clock: Clock) -> None:
        self._send = send
        self._clock = clock
        self._open: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def ask(self, do: str, args: dict[str, Any]) -> dict[str, Any]:
        """`{"ok": true, "result": …}` or `{"ok": false, "error": text}`, which also tells of no answer."""
        if len(self._open) >= MAX_OPEN:
            return {"ok": False, "error": f"{MAX_OPEN} commands wait already"}
        id_ = secrets.token_hex(8)
        done = self._open[id_] = asyncio.get_running_loop().create_future()
        exp_ns = self._clock.wall_ns() + round(LIFE_S * 1e9)
        try:
            async with asyncio.timeout(LIFE_S):
                await self._send({"t": "cmd", "id": id_, "do": do, "args": args, "exp_ns": exp_ns})
                answer: dict[str, Any] = await done
                return answer
        except (TimeoutError, ConnectionError):
            return {"ok": False, "error": "no answer"}
        finally:
            del self._open[id_]

    def done(self, body: dict[str, Any]) -> None:
        """An answer came; to what nobody asked it is ignored."""
        waiting = self._open.get(text(body.get("id")))
        if waiting is not None and not waiting.done():
            ok = body.get("ok") is True
            waiting.set_result({"ok": ok} | ({"result": body.get("result")} if ok else {"error": _error(body)}))


def _error(body: dict[str, Any]) -> str:
    """What a person reads of a `done` that is not ok, also from an agent that does not say why."""
    return text(body.get("error"), LONGEST_ERROR) or "the agent refuses and does not say why"
