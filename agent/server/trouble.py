"""What lasts is said once in the log, not each time that it is seen."""

from __future__ import annotations

import logging


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
