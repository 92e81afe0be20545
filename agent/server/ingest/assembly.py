"""Put the parts of items together again; bytes in, items out."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.frame import Item
from agent.media.wire import MAX_ITEM_BYTES, PART_BYTES, PartMessage

MAX_OPEN = 4
MAX_OPEN_BYTES = 2 * MAX_ITEM_BYTES


@dataclass(slots=True)
class _Unfinished:
    first: PartMessage
    parts: list[bytes] = field(default_factory=list)
    bytes: int = 0


class Assembly:
    """Holds at most MAX_OPEN unfinished items of MAX_OPEN_BYTES together (docs/protocol.md); `bytes` now."""

    def __init__(self, camera: str, spool: str) -> None:
        self._camera = camera
        self._spool = spool
        self._open: dict[int, _Unfinished] = {}
        self.bytes = 0

    def add(self, part: PartMessage) -> Item | None:
        """The item that this part completes, else None; raises ValueError for a part out of place."""
        if len(part.data) > PART_BYTES:
            raise ValueError(f"part of {len(part.data)} bytes, at most {PART_BYTES}")
        one = self._open.get(part.seq)
        have = one.bytes if one else 0
        if part.offset != have:
            raise ValueError(f"part of item {part.seq} at {part.offset}, expected {have}")
        if not part.data and part.total > have:
            raise ValueError(f"empty part of item {part.seq}")
        if one is None:
            if len(self._open) >= MAX_OPEN:
                raise ValueError(f"item {part.seq} begins while {MAX_OPEN} are unfinished")
            one = self._open[part.seq] = _Unfinished(part)
        elif _identity(part) != _identity(one.first):
            raise ValueError(f"part of item {part.seq} that is not like its first")
        one.parts.append(bytes(part.data))
        one.bytes += len(part.data)
        self.bytes += len(part.data)
        if one.bytes == part.total:
            return self._finish(one)
        if self.bytes > MAX_OPEN_BYTES:
            raise ValueError(f"unfinished items of more than {MAX_OPEN_BYTES} bytes")
        return None

    def clear(self) -> None:
        """Forget what is unfinished."""
        self._open.clear()
        self.bytes = 0

    def _finish(self, one: _Unfinished) -> Item:
        p = one.first
        del self._open[p.seq]
        self.bytes -= p.total
        return Item(self._camera, self._spool, p.seq, p.type, p.event, p.wall_ns, b"".join(one.parts), p.sha256)


def _identity(p: PartMessage) -> tuple[object, ...]:
    return p.type, p.seq, p.wall_ns, p.event, p.sha256, p.total
