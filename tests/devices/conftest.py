"""Test beds of the neighbouring facts repository: real picamera2, and a whole emulated machine with webcams."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent.parent
BEDS = PROJECT.parent / "shared" / "tools" / "testbeds"
CACHE = Path(os.environ.get("CAMERA_AGENT_TESTBED") or Path(tempfile.gettempdir()) / "camera-agent-testbed")


def need_beds() -> None:
    if not BEDS.is_dir():
        pytest.skip(f"SKIPPED, not tested: no test beds ({BEDS})")
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("SKIPPED, not tested: the test beds are built by root from Debian's packages")


def bed(script: str, *args: str | Path, timeout_s: float = 600, **env: str) -> str:
    """Run a test bed's script; its stdout. Fails with all it said."""
    done = subprocess.run(
        [BEDS / script, *args], capture_output=True, text=True, timeout=timeout_s, env=os.environ | env, check=False
    )
    assert done.returncode == 0, f"{script} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def install(root: Path) -> None:
    """The product as it is now, without its hard dependencies where the root has them from Debian."""
    source = CACHE / "source"
    shutil.rmtree(source, ignore_errors=True)
    keep = ("agent", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
    for name in keep:
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        source.mkdir(parents=True, exist_ok=True)
        copy(PROJECT / name, source / name)
    # Of the dependencies the sources need numpy, OpenCV and PyAV; they are there.
    bed("install_product.sh", root, source, "--force-reinstall", "--no-deps")


@pytest.fixture(scope="session")
def pi_root() -> Path:
    """A Debian root with libcamera, picamera2 and the product; built once, in about 45 s."""
    need_beds()
    root = CACHE / "pi"
    ready = root.with_suffix(".ready")
    if not ready.exists():
        shutil.rmtree(root, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        try:
            bed("build_root.sh", root, "--no-kernel")
        except AssertionError as e:
            pytest.skip(f"SKIPPED, not tested: the test bed cannot be built here: {str(e)[-300:]}")
        ready.touch()
    install(root)
    return root
