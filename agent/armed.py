"""Whether a camera is armed, kept beside its spool over restarts."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from agent.durable import write_whole

log = logging.getLogger(__name__)

WORDS = {"armed": True, "disarmed": False}


class Armed:
    """One word in a small file; without a folder nothing is kept.

    A camera whose file is missing or says something else is armed: of two mistakes, a camera that watches although
    it should not is seen, and one that does not watch although it should is not.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / "armed" if folder else None
        self._turn = asyncio.Lock()

    def read(self) -> bool:
        """What was last kept."""
        if self._path is None:
            return True
        try:
            word = self._path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return True
        except (OSError, ValueError) as e:
            log.warning("%s cannot be read, the camera is armed: %s", self._path, e)
            return True
        if word not in WORDS:
            log.warning("%s says neither armed nor disarmed: the camera is armed", self._path)
        return WORDS.get(word, True)

    async def keep(self, armed: bool) -> bool:
        """Whether that outlasts a restart and a power cut; orders that come together are kept in their order."""
        if self._path is None:
            return False
        async with self._turn:
            try:
                await asyncio.to_thread(write_whole, self._path, "armed\n" if armed else "disarmed\n")
            except OSError as e:
                log.warning("%s: whether the camera is armed is not kept: %s", self._path, e.strerror)
                return False
        return True
