"""Run the fault-injection scripts of another directory against the product: `python -m tests.faults.outside NAME ARGS`.

They drive a pair of programs by one command line (`server|agent|verify` and options); this module is that command line
for the product, and the way to call a script with it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(os.environ.get("FAULT_SCRIPTS", ROOT.parent / "shared" / "tools" / "faults"))
PAIR = ROOT / "tests" / "faults" / "pair.py"

# Its kills at every file call are not among them: the suite's own (whole.py) watch more calls, and end.
WHOLE = (
    ("killloop", "random", "--n", "200"),
    ("killloop", "power", "--n", "20"),
    ("netmatrix",),
    ("netrun",),
    ("diskfault",),
    ("hostile",),
)


def everything() -> int:
    """All scripts, one after another; how many failed."""
    if not SCRIPTS.is_dir():
        print(f"SKIPPED: no fault scripts at {SCRIPTS}")
        return 0
    failed = 0
    for one in WHOLE:
        print("==", *one, flush=True)
        failed += subprocess.run([sys.executable, "-m", "tests.faults.outside", *one], cwd=ROOT).returncode != 0
    return failed


def main() -> None:
    """Call the script's main with its pair replaced."""
    if sys.argv[1:] == ["all"]:
        sys.exit(min(1, everything()))
    name, *args = sys.argv[1:]
    sys.path.insert(0, str(SCRIPTS))
    for module in dict.fromkeys(("killloop", name)):
        found: Any = importlib.import_module(module)
        if hasattr(found, "TOY"):
            found.TOY = str(PAIR)
    script = importlib.import_module(name)
    sys.argv = [name, *args]
    if name == "netmatrix":
        import asyncio

        p = argparse.ArgumentParser()
        p.add_argument("--break", dest="brk", default="")
        p.add_argument("--seconds", type=float, default=3)
        p.add_argument("--modes", default="")
        sys.exit(0 if asyncio.run(script.main(p.parse_args())) else 1)
    if name == "hostile":
        from tests.faults import hostile

        sys.exit(0 if hostile.main(script, args) else 1)
    result = script.main()
    sys.exit(0 if result in (None, True) else 1)


def pair() -> None:
    """`server|agent|verify` in the words of those scripts, done by the product."""
    p = argparse.ArgumentParser()
    p.add_argument("role", choices=("server", "agent", "verify"))
    p.add_argument("--ledger", nargs="+", default=[])
    p.add_argument("--spool", default="")
    p.add_argument("--store", default="")
    p.add_argument("--port", default="0")
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--url", default="")
    p.add_argument("--count", default="0")
    p.add_argument("--size", type=int, default=20000)
    p.add_argument("--fps", type=float, default=0)
    p.add_argument("--break", dest="brk", default="")
    a, _ = p.parse_known_args()
    os.chdir(ROOT)
    os.environ["PYTHONPATH"] = str(ROOT)
    me = [sys.executable, "-m"]
    if a.role == "server":
        me += ["tests.faults.server", "--store", a.store, "--port", a.port, "--host", a.host, "--break", a.brk]
    elif a.role == "agent":
        me += ["tests.faults.agent", "--spool", a.spool, "--url", a.url, "--ledger", a.ledger[0], "--count", a.count]
        me += ["--size", str(max(1000, a.size // 5)), "--break", a.brk]
    else:
        from tests.faults.verdict import verdict

        try:
            found = verdict(Path(a.store), Path(a.ledger[0]))
        except Exception as e:  # the store is being made, or the disk under it is gone: ask again
            found = dict.fromkeys(("promised", "stored", "lost", "dup", "torn", "wrong", "told", "pending"), 0)
            found |= {"ok": False, "error": str(e)}
        print(json.dumps(found))
        sys.exit(0 if found["ok"] else 1)
    os.execv(me[0], me)


if __name__ == "__main__":
    main()
