"""No test touches the spools, stores and sockets of whoever runs it."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")  # other tests run at the same time


@pytest.fixture(autouse=True, scope="session")
def a_terminal_that_can_close() -> None:
    """Children inherit what is ignored: SIGHUP where the tests run under nohup, SIGINT in a shell's background."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def a_home_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    home = tempfile.mkdtemp(prefix="ca-test-")  # short: a socket's path has room for 107 letters
    monkeypatch.setenv("XDG_STATE_HOME", f"{home}/state")
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{home}/run")
    for name in ("CAMERA_AGENT_LEDGER", "COLUMNS", "LINES"):  # a terminal's size is its own: xdist sets both
        monkeypatch.delenv(name, raising=False)
    yield
    shutil.rmtree(home, ignore_errors=True)
