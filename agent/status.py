"""What an agent says about itself: per camera and sink, up or away and why, what arrived and what waits."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime
from typing import Any

from agent import why
from agent.outbox import Outbox
from agent.pipeline import Pipeline
from agent.sources.device import blocked_threads
from agent.supervise import Health


def camera(p: Pipeline) -> dict[str, Any]:
    """One camera as JSON; times are nanoseconds UTC, ages seconds."""
    return {
        "name": p.name,
        "source": p.source.label,
        **_health(p.health),
        "ended": p.ended.is_set(),
        "fps": round(p.fps, 2),
        "size": list(p.size) if p.size else None,
        "capture_threads": blocked_threads(p.source.label),
        "armed": p.armed,
        "event": p.recorder.event,
        "counters": dataclasses.asdict(p.counters) | {"preroll_trimmed": p.recorder.preroll_trimmed},
        "held_back": p.why.json(),
        "spool_error": getattr(p.spool, "error", ""),
        "spool_bytes": list(getattr(p.spool, "held", ())),
        "sinks": [{"sink": w.sink.label, **_health(w.health), **_backlog(w.outbox)} for w in p.ways],
    }


def _health(health: Health) -> dict[str, Any]:
    return {
        "up": health.up,
        "why": "" if health.up else health.error or "not yet tried",
        "since_ns": health.since_ns,
        "failures": health.failures,
        "refused": health.refused,
    }


def _backlog(outbox: Outbox) -> dict[str, Any]:
    b = outbox.backlog()
    oldest_s = None if b.oldest_wall_ns is None else max(0.0, round((time.time_ns() - b.oldest_wall_ns) / 1e9, 1))
    return {
        "spool": b.spool,
        "complete": [1, b.complete_to],
        "missing": b.missing,
        "waiting_items": b.waiting_items,
        "waiting_bytes": b.waiting_bytes,
        "oldest_unacknowledged_s": oldest_s,
    }


def text(cameras: list[dict[str, Any]], *, because: bool = False) -> str:
    """The same for people; `because`: with what was held back lately and why."""
    return "\n".join(line for c in cameras for line in _camera_lines(c) + (_held_back(c) if because else []))


def _held_back(c: dict[str, Any]) -> list[str]:
    entries = c.get("held_back", [])
    kinds = ["made" if e["event"] else "held back" for e in entries]
    return [f"  {kind}: {line}" for kind, line in zip(kinds, why.text(entries, _when), strict=True)] or [
        "  held back: nothing"
    ]


def _camera_lines(c: dict[str, Any]) -> list[str]:
    n = c["counters"]
    if c["ended"]:
        state = "ended"
    elif c["up"]:
        size = f", {c['size'][0]}x{c['size'][1]}" if c["size"] else ""
        state = f"up since {_when(c['since_ns'])}, {c['fps']:.1f} fps{size}"
    else:
        state = f"AWAY: {c['why']}"
    lines = [
        f"{c['name']}: {state}",
        f"  {n['frames']} frames ({n['lost_frames']} lost at the camera), "
        + f"{_count(n['events'], 'event')}, {_count(n['clips'], 'clip')}"
        + (f"; event {c['event']} is running" if c["event"] else ""),
    ]
    if not c["armed"]:
        lines.append("  DISARMED by command: motion makes no events")
    if c.get("spool_bytes"):
        held, most = c["spool_bytes"]
        lines.append(
            f"  spool: {held / 1e6:.1f} of {most / 1e6:.1f} MB; what is delivered stays until the space is needed"
        )
    if c["spool_error"]:
        lines.append(f"  SPOOL: {c['spool_error']}; items wait in memory")
    return lines + [line for s in c["sinks"] for line in _sink_lines(s)]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _sink_lines(s: dict[str, Any]) -> list[str]:
    state = f"up since {_when(s['since_ns'])}" if s["up"] else f"AWAY: {s['why']}"
    missing = ", ".join(f"{n} missing ({why})" for why, n in sorted(s["missing"].items()))
    waits = "nothing waits"
    if s["waiting_items"]:
        age = f", the oldest for {s['oldest_unacknowledged_s']:.0f} s" if s["oldest_unacknowledged_s"] else ""
        waits = f"{s['waiting_items']} items wait ({s['waiting_bytes'] / 1e6:.1f} MB{age})"
    first, last = s["complete"]
    complete = f"complete from {first} to {last}" if last >= first else "nothing delivered yet"
    return [
        f"  → {s['sink']}: {state}",
        f"    spool {s['spool']}: {complete}" + (f", {missing}" if missing else "") + f"; {waits}",
    ]


def _when(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
