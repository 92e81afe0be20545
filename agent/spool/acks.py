"""What each sink's other end has: a small file, replaced whole. A stale one means a repeat, which is noticed there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from agent.durable import write_whole
from agent.spool.ranges import Ranges


class Acks:
    """Of the present sinks (`by_sink`), and remembered of those that this spool had before: one may come back."""

    def __init__(self, path: Path, sinks: Iterable[str]) -> None:
        self._path = path
        self._saved = ""
        try:
            self._saved = path.read_text()
            known = json.loads(self._saved)
            self._noted = {k: Ranges((int(a), int(b)) for a, b in ranges) for k, ranges in known.items()}
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            self._noted = {}
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

    def everyone_has(self, seq: int) -> bool:
        """Whether every sink's other end has this item."""
        return bool(self.by_sink) and all(seq in r for r in self.by_sink.values())

    def save(self) -> None:
        """Write what is not in the file yet; raises OSError."""
        text = json.dumps({k: r.all() for k, r in {**self._noted, **self.by_sink}.items()})
        if text != self._saved:
            write_whole(self._path, text)
            self._saved = text
