"""A spool's identity, and whether this folder is a copy of another one (a cloned card, a restored backup)."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from agent.durable import write_whole

_MACHINE = ("/sys/firmware/devicetree/base/serial-number", "/etc/machine-id")


class Origin:
    """Reads or makes the identity. `copied`: it was made on another machine, or as another file of this one.

    An exact image of a card in a twin device is not seen here; the other end's `conflict` tells it then.
    """

    def __init__(self, folder: Path) -> None:
        self._name = folder / "spool.json"
        try:
            self.id = str(json.loads(self._name.read_text())["spool"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            self.id = secrets.token_hex(8)
            write_whole(self._name, json.dumps({"spool": self.id, "version": 1}))
        here, noted = self._place(), folder / "place"
        try:
            before = noted.read_text()
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
