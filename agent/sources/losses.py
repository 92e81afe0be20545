"""Which packets of a stream over UDP did not come: libav tells it in its log only."""

from __future__ import annotations

import logging
import re
from typing import Any

_MISSED = re.compile(r"RTP: missed (\d+) packets")


class Losses:
    """Listens to libav's log on the thread that made it, which has to be the one that reads and closes.

    Of that log nothing else is kept, and what other threads cause goes nowhere: it may hold addresses with passwords.
    """

    def __init__(self, library: Any) -> None:
        silent = logging.getLogger("libav")
        silent.propagate = False
        silent.addHandler(logging.NullHandler())
        library.logging.set_skip_repeated(False)
        library.logging.set_level(library.logging.WARNING)
        self._capture = library.logging.Capture()
        self._lines: list[tuple[int, str, str]] = self._capture.__enter__()

    def heard(self) -> int:
        """How many packets were found missing since the last time."""
        found = [_MISSED.search(text) for _, _, text in self._lines]
        self._lines.clear()
        return sum(int(m[1]) for m in found if m)

    def close(self) -> None:
        self._capture.__exit__(None, None, None)
