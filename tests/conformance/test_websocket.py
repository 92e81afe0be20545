"""RFC 6455 case by case: both ends of the uplink against a conformance suite (needs PyPI for the suite itself)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(os.environ.get("WS_CONFORMANCE", ROOT.parent / "shared" / "tools" / "ws_conformance.sh"))
ECHO = f"cd {ROOT}; exec {sys.executable} -m tests.conformance.echo"
CASES = 247


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.skipif(not SCRIPT.is_file(), reason=f"no conformance script at {SCRIPT}")
def test_both_ends_of_the_uplink_keep_to_the_rfc(tmp_path: Path) -> None:
    command = ["bash", str(SCRIPT), "--work", str(tmp_path), "--python", sys.executable]
    # 7.9.5: plain aiohttp takes the close code 1006 from the wire, and so do we.
    command += ["--allow", "7.9.5", "--server-cmd", f"{ECHO} server {{port}}", "--client-cmd", f"{ECHO} client {{url}}"]
    found = subprocess.run(command, capture_output=True, text=True)
    print(found.stdout, found.stderr)
    assert f"\n{2 * CASES} passed, 0 failed" in found.stdout
