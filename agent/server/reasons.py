"""Why a camera's motion made events or none: what its agent tells when somebody asks, in a bounded ring."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

from agent.server.digest import number, share, text
from agent.why import KEPT, Ring, words

Command = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Asks an agent: what, and with which arguments; its answer as in a `done` message."""
EVERY_S = 2.0
PATIENCE_S = 3.0
UNITS = 1e9


class Reasons:
    """One camera's, newest last. Asked at most every 2 s, and only for what changed: a bad line is spared.

    Its agent's ring is asked with the command `why`, through what `command` gives (None: no agent is there); where
    the server judges by itself, its own `ring`. What an agent told stays when it goes away; nothing of this is on
    the disk.
    """

    def __init__(self, command: Callable[[], Command | None]) -> None:
        self._command = command
        self.ring: Ring | None = None
        self._known: dict[tuple[str, int], dict[str, Any]] = {}
        self._run, self._change = "", 0
        self._asked_s = -math.inf
        self._asking: asyncio.Task[None] | None = None
        self.at_ns = 0
        self.armed: bool | None = None
        self.error = ""

    async def refresh(self, wall_ns: Callable[[], int]) -> None:
        """Ask, if it is time; wait 3 s at most for the answer, which may also come later."""
        now_s = asyncio.get_running_loop().time()
        if self._asking is None and now_s - self._asked_s >= EVERY_S:
            self._asked_s = now_s
            self._asking = asyncio.create_task(self._ask(wall_ns))
        if self._asking is not None:
            await asyncio.wait({self._asking}, timeout=PATIENCE_S)

    async def _ask(self, wall_ns: Callable[[], int]) -> None:
        try:
            args = {"run": self._run, "after": self._change}
            if (command := self._command()) is not None:
                answer = await command("why", args)
            elif (ring := self.ring) is not None:
                answer = {"ok": True, "result": ring.since(self._run, self._change)}
            else:
                answer = {"ok": False, "error": "nobody tells: the camera's agent is not connected"}
            self.error = "" if answer.get("ok") else answer["error"]
            if answer.get("ok") and isinstance(result := answer.get("result"), dict):
                self._take(result)
                self.at_ns = wall_ns()
        finally:
            self._asking = None

    def _take(self, result: dict[str, Any]) -> None:
        armed = result.get("armed")
        self.armed = armed if isinstance(armed, bool) else None
        run, entries = text(result.get("run")), result.get("entries")
        self._run, self._change = run, number(result.get("change"))
        for entry in reversed(entries[:KEPT] if isinstance(entries, list) else []):
            if isinstance(entry, dict) and (told := _entry(entry)) is not None:
                self._known[run, number(entry.get("id"))] = told
        for oldest in sorted(self._known, key=lambda k: float(self._known[k]["last_ms"]))[:-KEPT]:
            del self._known[oldest]

    def json(self) -> list[dict[str, Any]]:
        """Newest first."""
        return sorted(self._known.values(), key=lambda e: float(e["last_ms"]), reverse=True)


def _entry(e: dict[str, Any]) -> dict[str, Any] | None:
    """What the API says of an entry of the agent's; None where it says nothing that can be shown."""
    box, reason = e.get("box"), text(e.get("reason"))
    if not reason or not isinstance(box, list) or len(box) != 4:
        return None
    return {
        "first_ms": number(e.get("first_ns")) / 1e6,
        "last_ms": number(e.get("last_ns")) / 1e6,
        "count": number(e.get("count")),
        "event": number(e.get("event")),
        "reason": reason,
        "words": words(reason),
        "box": [share(v) for v in box],
        "score": share(e.get("score")),
        "evidence": _plain(e.get("evidence")),
        "wanted": _plain(e.get("wanted")),
        "zone": text(e.get("zone"), 100),
    }


def _plain(value: object) -> float:
    """A number in the detector's units; anything else is 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= UNITS:
        return 0.0
    return round(float(value), 3)
