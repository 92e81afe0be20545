"""The three outcomes that a run may have besides success; anything else is a bug."""

import shlex
import sys


class AgentError(Exception):
    """Base of the expected errors: the text is one line for the user, naming what and where."""


class TransientError(AgentError):
    """It may work again by itself (link down, camera rebooting): retry with back-off.

    `wait_s`: the other end asked to be left alone for so long.
    """

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class PermanentError(AgentError):
    """It will not work until somebody acts (wrong password, HTML instead of video): retry rarely, say it once.

    `exit_code` is what a one-shot command exits with: 69 unreachable, 66 no such camera, 77 not permitted.
    """

    def __init__(self, message: str, exit_code: int = 69) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class GoneError(PermanentError):
    """The other end says that this camera was deleted: a disposable agent ends, its spool stays."""


class ConfigError(AgentError):
    """The settings are wrong: exit 78, or refuse them; the text names the key (and file:line:column)."""


class UsageError(AgentError):
    """The command cannot do what was asked; `exit_code` is the process's exit code (see `agent.exits`)."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def pip_install(what: str) -> str:
    """The command that installs `what` where this program runs: the shell's own `pip` may be another Python's."""
    pip = "pip" if sys.prefix == sys.base_prefix else shlex.quote(f"{sys.prefix}/bin/pip")
    return f"{pip} install {what}"


def extra(name: str) -> str:
    """The command that installs an extra of this distribution."""
    return pip_install(f"'camera-agent[{name}]'")
