"""A spool's identity, and whether this folder is a copy of another one (a cloned card, a restored backup)."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from agent.durable import write_whole
from agent.errors import UsageError
from agent.spool.record import HEAD, unpack

VERSION = 2  # of the files' format: others are not touched
_MACHINE = ("/sys/firmware/devicetree/base/serial-number", "/etc/machine-id")


class Origin:
    """Reads or makes the identity. `copied`: it was made on another machine, or as another file of this one.

    An exact image of a card in a twin device is not seen here; the other end's `conflict` tells it then.
    """

    def __init__(self, folder: Path) -> None:
        self._name = folder / "spool.json"
        try:
            known = json.loads(self._name.read_text())
            version, self.id = known["version"], bytes.fromhex(known["spool"]).hex()
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            version, self.id = VERSION, _by_records(folder) or secrets.token_hex(8)
            write_whole(self._name, json.dumps({"spool": self.id, "version": VERSION}))
        if version != VERSION:
            why = f"its files are of version {version}, this program's of {VERSION}"
            raise UsageError(f"spool {folder}: {why}; empty it with the program that wrote it, or move it away", 73)
        here, noted = self._place(), folder / "place"
        try:
            before = noted.read_text(errors="replace")
        except FileNotFoundError:
            before = here if not any(folder.glob("*.seg")) else ""
        self.copied = before != here
        if self.copied or not noted.exists():
            write_whole(noted, here)

    def _place(self) -> str:
        machine = ""
        for name in _MACHINE:
            try:
                machine = Path(name).read_text().strip("\0\n ")
                break
            except OSError:
                continue
        return f"{machine}/{self._name.stat().st_ino}"


def _by_records(folder: Path) -> str:
    """The identity when its own file is rotten: every record tells it; "" when there is none."""
    for path in folder.glob("*.seg"):
        with open(path, "rb") as f:
            if record := unpack(f.read(HEAD.size), 0):
                return record.spool
    return ""
