"""What became of what was promised: the ledger against the store's files and rows, with nothing of the product in it.

    python -m tests.faults.oracle STORE LEDGER

Prints one JSON object; exit code 0 when nothing is lost, doubled, torn or wrong.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any


def judge(store: Path, ledger: Path) -> dict[str, Any]:
    """`told`: promised, not stored, and declared missing by the agent."""
    want: dict[tuple[str, str, int], str] = {}
    for line in ledger.read_text(errors="replace").splitlines():
        words = line.split()
        if len(words) == 5 and words[0] == "item":
            want[words[1], words[2], int(words[3])] = words[4]
    db = sqlite3.connect(f"file:{store}/index.db?mode=ro", uri=True)
    try:
        rows = db.execute("SELECT camera, spool, seq, hex(sha256) FROM items").fetchall()
        gaps = db.execute("SELECT camera, spool, first, last FROM dropped").fetchall()
        past = {(c, s, int(b)): d for c, s, b, d in db.execute("SELECT camera, spool, block, digests FROM past")}
    finally:
        db.close()
    have: dict[tuple[str, str, int], str] = {}
    files: dict[tuple[str, str, int], list[str]] = {}
    for path in (store / "items").rglob("*"):
        if path.is_file() and path.stem.isdigit():
            camera, spool = path.relative_to(store / "items").parts[:2]
            files.setdefault((camera, spool, int(path.stem)), []).append(_sha(path))
    dup = torn = 0
    for camera, spool, seq, sha in rows:
        key = (camera, spool, int(seq))
        dup += key in have
        have[key] = sha.lower()
        torn += files.get(key) != [sha.lower()]
    for key, sha in want.items():  # stored, and deleted since by retention: the beginning of its digest stays
        block, at = divmod(key[2], 1000)
        digests = past.get((*key[:2], block), b"")
        if key not in have and digests[at * 8 : at * 8 + 8].hex() == sha[:16]:
            have[key] = sha
    told = [k for k in want if k not in have and any(g[:2] == k[:2] and g[2] <= k[2] <= g[3] for g in gaps)]
    lost = [k for k in want if k not in have and k not in set(told)]
    wrong = sum(k in have and have[k] != sha for k, sha in want.items())
    found = {
        "promised": len(want),
        "stored": len(have),
        "lost": len(lost),
        "dup": dup,
        "torn": torn,
        "wrong": wrong,
        "told": len(told),
        "pending": 0,
        "first_lost": lost[:3],
    }
    return found | {"ok": not (lost or dup or torn or wrong)}


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    result = judge(Path(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps(result))
    sys.exit(0 if result["ok"] else 1)
