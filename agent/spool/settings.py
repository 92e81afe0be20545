"""Where and how much an agent may keep, as the configuration file says it; and opening it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from agent.errors import UsageError
from agent.schema import at_least, at_most
from agent.spool.disk import Disk
from agent.spool.store import Spool

MIB = 1024 * 1024
MOST_BYTES = 1024 * MIB
SHARE = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSettings:
    """`path` is the directory ("": the service's or the user's state directory).

    `max_mib` for all cameras together (unset: the smaller of 1 GiB and a tenth of the disk); while less than
    `min_free_percent` of the disk are free, it does not grow. `durability`: item (each synced at once), batch (events
    each, stills within half a second) or none (survives the process, not the power).
    """

    path: str = ""
    max_mib: Annotated[int, at_least(8)] | None = None
    min_free_percent: Annotated[float, at_least(0), at_most(90)] = 5
    durability: Literal["item", "batch", "none"] = "batch"

    @property
    def root(self) -> Path:
        if self.path:
            return Path(self.path).expanduser()
        if state := os.environ.get("STATE_DIRECTORY"):
            return Path(state.split(":")[0]) / "spool"
        base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        return Path(base) / "camera-agent" / "spool"

    def open(self, camera: str, sinks: list[str], cameras: int, memory_bytes: int) -> Spool:
        """The camera's spool with its share of the space; raises UsageError (exit 73)."""
        root = self.root
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            total = shutil.disk_usage(root).total
        except OSError as e:
            raise UsageError(f"spool {root}: {e.strerror}", 73) from None
        most = self.max_mib * MIB if self.max_mib else min(MOST_BYTES, int(total * SHARE))
        disk = Disk(root / camera, most // cameras, tuple(sinks), self.min_free_percent / 100)
        ledger = os.environ.get("CAMERA_AGENT_LEDGER")
        return Spool(
            camera,
            disk,
            durability=self.durability,
            ledger=Path(ledger) if ledger else None,
            memory_bytes=memory_bytes,
        )
