"""Two judges of one store: the oracle, which knows nothing of the product, and the product's own `archive fsck`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent.errors import AgentError
from agent.server import fsck
from tests.faults.oracle import judge


def verdict(store: Path, ledger: Path) -> dict[str, Any]:
    """What the oracle found; `fsck` is what the product says, and `ok` only when both do."""
    found = judge(store, ledger)
    try:
        theirs = fsck.check(store, (ledger,)).as_json()
    except AgentError as e:
        theirs = {"ok": False, "findings": [str(e)]}
    said = theirs["ok"] or "; ".join(theirs["findings"][:3])
    return found | {"fsck": said, "ok": found["ok"] and theirs["ok"]}
