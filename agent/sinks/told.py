"""What a camera server says that it has, in a welcome, an `ack` or an answer; nothing in it is believed unseen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}\Z")


def ranges(body: Mapping[str, Any]) -> tuple[int | None, list[tuple[int, int]]]:
    """`ack` and the well-formed of `have`; None without an ack."""
    ack, have = body.get("ack"), body.get("have")
    pairs = [r for r in (have if isinstance(have, list) else []) if isinstance(r, list) and len(r) == 2]
    found = [(a, b) for a, b in pairs if isinstance(a, int) and isinstance(b, int)]
    return (ack if isinstance(ack, int) else None), found


def camera_id(body: Mapping[str, Any]) -> str:
    """Which of the cameras that have or had this name it is; "" where the server does not tell."""
    told = body.get("camera_id")
    return told if isinstance(told, str) and _ID.match(told) else ""
