"""The ways in which a simulated camera misbehaves, and how they are written."""

import difflib
import re
from dataclasses import dataclass

from agent.errors import UsageError

FAULTS = {
    "stall": "send nothing for X seconds, or for ever; the connection stays open",
    "truncate": "send the first half of the picture with the length of the whole",
    "drop": "close the connection in the middle of the picture",
    "wrong-length": "say X bytes (1000) less than there are; more if X is negative",
    "no-length": "leave Content-Length out",
    "corrupt": "overwrite 400 bytes of the picture's data",
    "401": "refuse every request",
    "html": "answer with an HTML page",
    "slow": "send at most X bytes a second",
    "empty-part": "send a part of 0 bytes",
    "endless-part": "send a picture that never ends",
    "freeze": "repeat the picture before",
    "pieces": "send in pieces of X bytes (1)",
    "burst": "keep pictures back until there are X (2), then send them at once",
    "no-tables": "leave the JPEG's Huffman tables out",
    "thumbnail": "put a small JPEG into the JPEG's head",
    "odd-segments": "put the maker's own segments into the JPEG's head",
    "swapped": "answer with a stream where a still is asked for, and the reverse",
    "redirect": "lead to the same path elsewhere on this camera first",
    "redirect-away": "lead to another host",
    "endless-head": "send a part's header that never ends",
    "huge-header": "let the JPEG's header say 20000x20000",
}
_TAKES_X = frozenset(("stall", "wrong-length", "slow", "pieces", "burst"))
_TEXT = re.compile(r"([a-z0-9-]+?)(?:=(-?\d+(?:\.\d+)?))?(?:@(\d{1,12})(?:\+(\d{1,12}))?)?")


@dataclass(frozen=True, slots=True)
class Fault:
    """One misbehaviour, for the pictures `first` to `first + count - 1` (from 0; count 0: all from there on)."""

    name: str
    value: float | None = None
    first: int = 0
    count: int = 0

    def at(self, number: int) -> bool:
        return self.first <= number and (not self.count or number < self.first + self.count)


def parse_fault(text: str) -> Fault:
    """`FAULT[=X][@N[+M]]`: from picture N on, for M pictures (1); always without @N. Raises UsageError."""
    found = _TEXT.fullmatch(text.strip().lower())
    if not found or found[1] not in FAULTS:
        name = found[1] if found else text
        near = difflib.get_close_matches(name, FAULTS, 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise UsageError(f"no such fault: '{name}'{hint} (known: {', '.join(FAULTS)}; as FAULT[=X][@N[+M]])")
    name, value = found[1], float(found[2]) if found[2] else None
    if value is not None and name not in _TAKES_X:
        raise UsageError(f"fault '{name}' takes no value ('{text}')")
    if name == "slow" and (value is None or value < 1):
        raise UsageError("fault 'slow' needs a number of bytes a second: slow=50000")
    if name == "stall" and value is not None and value < 0:
        raise UsageError(f"fault 'stall' cannot last {value:g} s")
    if name in ("pieces", "burst") and value is not None and value < 1:
        raise UsageError(f"fault '{name}' needs a number from 1 on ('{text}')")
    count = int(found[4] or 1) if found[3] else 0
    return Fault(name, value, int(found[3] or 0), count)
