"""What lasts is said once in the log, not each time that it is seen."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

log = logging.getLogger(__name__)


class Trouble:
    """Of one kind: a warning when it begins or becomes another one."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said = ""

    def tell(self, text: str) -> None:
        self._log.log(logging.DEBUG if text == self._said else logging.WARNING, "%s", text)
        self._said = text

    def over(self) -> None:
        self._said = ""


def seen(task: asyncio.Future[Any]) -> None:
    """For the end of a task that nobody waits for: what it raised is in the log."""
    if not task.cancelled() and (e := task.exception()) is not None:
        log.error("something that nobody waits for failed: %s", e, exc_info=e)
