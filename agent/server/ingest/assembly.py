"""Put the parts of an item together again; bytes in, items out, one item at a time."""

from __future__ import annotations

from agent.frame import Item
from agent.media.wire import PART_BYTES, PartMessage


class Assembly:
    """Holds at most one unfinished item (docs/protocol.md bounds it)."""

    def __init__(self, camera: str, spool: str) -> None:
        self._camera = camera
        self._spool = spool
        self._first: PartMessage | None = None
        self._parts: list[bytes] = []
        self._bytes = 0

    def add(self, part: PartMessage) -> Item | None:
        """The item that this part completes, else None; raises ValueError for a part out of place."""
        if len(part.data) > PART_BYTES:
            raise ValueError(f"part of {len(part.data)} bytes, at most {PART_BYTES}")
        if part.offset != self._bytes:
            raise ValueError(f"part at {part.offset}, expected {self._bytes}")
        if self._first is None:
            self._first = part
        elif _identity(part) != _identity(self._first):
            raise ValueError(f"part of item {part.seq} inside item {self._first.seq}")
        if not part.data and part.total > self._bytes:
            raise ValueError(f"empty part of item {part.seq}")
        self._parts.append(bytes(part.data))
        self._bytes += len(part.data)
        return self._finish() if self._bytes == part.total else None

    def _finish(self) -> Item:
        assert self._first is not None
        p, payload = self._first, b"".join(self._parts)
        self._first, self._parts, self._bytes = None, [], 0
        return Item(self._camera, self._spool, p.seq, p.type, p.event, p.wall_ns, payload, p.sha256)


def _identity(p: PartMessage) -> tuple[object, ...]:
    return p.type, p.seq, p.wall_ns, p.event, p.sha256, p.total
