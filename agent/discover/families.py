"""From what a camera says of itself to the line that makes it a source."""

from __future__ import annotations

import re

from agent.sources.presets import PRESETS


def family(words: str) -> str:
    """The preset of a maker and model, "" for none that is known."""
    return next((name for name, row in PRESETS.items() if row.model and re.search(row.model, words, re.I)), "")


def line(preset: str, host: str, port: int = 80) -> str:
    """A `source:` line; without a preset for an MJPEG address that must be looked up."""
    at = "" if port == 80 else f", port: {port}"
    if preset == "dcs920":
        return f"{{type: dcs920, host: {host}{at}, password_file: FILE}}"
    if preset:
        return f"{{type: ipcam, preset: {preset}, host: {host}{at}, password_file: FILE}}"
    at = host if port == 80 else f"{host}:{port}"
    return f"{{type: mjpeg, url: http://{at}/PATH, username: USER, password_file: FILE}}"
