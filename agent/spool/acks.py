"""What each sink's other end has: a small file, replaced whole. A stale one means a repeat, which is noticed there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.durable import write_whole
from agent.spool.ranges import Ranges

FORMER = "former"  # why numbers do not come: a deleted camera, to which they were delivered, had this one's name


@dataclass(frozen=True, slots=True)
class Peer:
    """The camera that acknowledges, "" while it was not named; `former`: what those before it under its name had."""

    camera_id: str = ""
    former: Ranges = field(default_factory=Ranges)


class Acks:
    """Of the present sinks (`by_sink`), and remembered of those that this spool had before: one may come back.

    What was acknowledged by a camera that is deleted since stays acknowledged.
    """

    def __init__(self, path: Path, sinks: Iterable[str]) -> None:
        self._path = path
        self._saved = ""
        try:
            self._saved = path.read_text()
            known = {k: _parse(v) for k, v in json.loads(self._saved).items()}
        except (FileNotFoundError, ValueError, TypeError, AttributeError, LookupError):
            known = {}
        self._noted = {k: acked for k, (acked, _) in known.items()}
        self._peers = {k: peer for k, (_, peer) in known.items()}
        self.by_sink = {k: self._noted.get(k, Ranges()) for k in sinks}

    def __bool__(self) -> bool:
        return any(self._noted.values())

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self._saved)

    def greet(self, here: Ranges) -> None:
        """A new sink begins with what is here: nothing else waits for it."""
        delivered = Ranges(span for ranges in self._noted.values() for span in ranges.all())
        for sink in self.by_sink.keys() - self._noted.keys():
            for first, last in delivered.all():
                self.by_sink[sink].update(here.holes(first, last))

    def resume(self, sink: str, told: Ranges, camera_id: str) -> bool:
        """The camera at the other end has what it `told`, and no more. True: it is another one than before."""
        peer = self.peer(sink)
        another = bool(camera_id and peer.camera_id) and camera_id != peer.camera_id
        former = self.by_sink[sink] if another else peer.former
        # In this order: whoever saves meanwhile has read the ranges before, all of which are among the former ones.
        self._peers[sink] = Peer(camera_id or peer.camera_id, former)
        self.by_sink[sink] = Ranges([*told.all(), *former.all()])
        return another

    def peer(self, sink: str) -> Peer:
        return self._peers.get(sink) or Peer()

    def everyone_has(self, seq: int) -> bool:
        """Whether every sink's other end has this item."""
        return bool(self.by_sink) and all(seq in r for r in self.by_sink.values())

    def save(self) -> None:
        """Write what is not in the file yet; raises OSError."""
        acked = {k: r.all() for k, r in {**self._noted, **self.by_sink}.items()}
        text = json.dumps({k: _as_json(ranges, self.peer(k)) for k, ranges in acked.items()})
        if text != self._saved:
            write_whole(self._path, text)
            self._saved = text


def _as_json(acked: list[tuple[int, int]], peer: Peer) -> Any:
    """The ranges alone where the other end names no camera."""
    if not peer.camera_id:
        return acked
    return {"camera_id": peer.camera_id, "acked": acked, "former": peer.former.all()}


def _parse(known: Any) -> tuple[Ranges, Peer]:
    """Raises ValueError, TypeError or LookupError."""
    if isinstance(known, list):
        return _ranges(known), Peer()
    peer = Peer(str(known["camera_id"]), _ranges(known["former"]))
    return _ranges([*known["acked"], *known["former"]]), peer


def _ranges(pairs: list[Any]) -> Ranges:
    return Ranges((int(a), int(b)) for a, b in pairs)
