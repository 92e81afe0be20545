"""Commands from the server: a closed list, each done once and not after its time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from agent.errors import AgentError

COMMANDS = ("snapshot", "fps", "arm", "disarm", "clip", "live", "why")
REMEMBERED = 256
MAX_LIFE_NS = 3_600_000_000_000

Command = Callable[[dict[str, Any]], Awaitable[Any]]


class Orders:
    """`obey` gives the `done` message for each `cmd`; what was done is remembered over connections.

    Time is the server's, told in its welcome: ours may be wrong.
    """

    def __init__(self, commands: Mapping[str, Command] | None = None) -> None:
        self._commands = dict(commands or {})
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._ahead_ns: int | None = None

    def add(self, do: str, command: Command) -> None:
        """What only a connection can do."""
        self._commands[do] = command

    def set_clock(self, now_ns: int) -> None:
        self._ahead_ns = now_ns - time.monotonic_ns()

    async def obey(self, body: dict[str, Any]) -> dict[str, Any]:
        id_ = body.get("id")
        try:
            result = await self._run(body)
        except AgentError as e:
            return {"t": "done", "id": id_, "ok": False, "error": str(e)}
        return {"t": "done", "id": id_, "ok": True, "result": result}

    async def _run(self, body: dict[str, Any]) -> Any:
        id_, do, args, exp_ns = (body.get(k) for k in ("id", "do", "args", "exp_ns"))
        if not isinstance(id_, str) or not 1 <= len(id_) <= 64:
            raise AgentError("a command needs an id")
        if not isinstance(exp_ns, int) or self._ahead_ns is None:
            raise AgentError("a command needs its end, exp_ns")
        now_ns = time.monotonic_ns() + self._ahead_ns
        if exp_ns <= now_ns:
            raise AgentError("expired")
        if exp_ns > now_ns + MAX_LIFE_NS:
            raise AgentError("exp_ns is more than an hour away")
        if id_ in self._seen:
            raise AgentError("repeated")
        self._seen[id_] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return await self._do(do, args)

    async def ask(self, do: str, args: dict[str, Any]) -> dict[str, Any]:
        """A command of this process's own server: the answer as in a `done` message."""
        try:
            return {"ok": True, "result": await self._do(do, args)}
        except AgentError as e:
            return {"ok": False, "error": str(e)}

    async def _do(self, do: Any, args: Any) -> Any:
        if not isinstance(do, str) or do not in COMMANDS or do not in self._commands:
            raise AgentError(f"no such command; one of {', '.join(COMMANDS)}")
        return await self._commands[do](args if isinstance(args, dict) else {})
