"""What a camera server may ask of a camera (docs/protocol.md): a closed list, of which nothing names a file."""

from __future__ import annotations

import asyncio
from typing import Any

from agent import trial
from agent.armed import Armed
from agent.errors import AgentError
from agent.frame import Codec, ItemType, Worth
from agent.pipeline import Pipeline
from agent.sinks import Command

SECOND = 1_000_000_000


def commands(p: Pipeline, memory: Armed) -> dict[str, Command]:
    """The camera's commands by name; each takes its arguments and returns what JSON can hold."""

    async def snapshot(args: dict[str, Any]) -> dict[str, Any]:
        frame = p.hub.latest
        if frame is None:
            raise AgentError("there is no picture now")
        data = frame.data if frame.codec is Codec.JPEG else await asyncio.to_thread(trial.as_jpeg, frame)
        p.spool.put(ItemType.STILL, 0, frame.wall_ns, data, Worth.HEAD)
        return {"wall_ns": frame.wall_ns}

    async def fps(args: dict[str, Any]) -> None:
        p.live_period_ns = round(SECOND / _number(args, "fps", 0.1, 60))

    async def arm(args: dict[str, Any]) -> dict[str, Any]:
        p.arm(True)
        return {"kept": await memory.keep(True)}

    async def disarm(args: dict[str, Any]) -> dict[str, Any]:
        p.arm(False)
        return {"kept": await memory.keep(False)}

    async def clip(args: dict[str, Any]) -> None:
        p.record_for(round(_number(args, "seconds", 1, 60) * SECOND))

    async def why(args: dict[str, Any]) -> dict[str, Any]:
        run, after = args.get("run"), args.get("after")
        told = p.why.since(run if isinstance(run, str) else "", after if isinstance(after, int) else 0)
        return told | {"armed": p.armed}

    return {"snapshot": snapshot, "fps": fps, "arm": arm, "disarm": disarm, "clip": clip, "why": why}


def _number(args: dict[str, Any], key: str, least: float, most: float) -> float:
    value = args.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise AgentError(f"{key} must be a number from {least:g} to {most:g}")
    return float(value)
