"""What refusals say to programs (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

PROBLEM = "application/problem+json"


def about(status: int, **more: Any) -> dict[str, Any]:
    """The body of a refusal with that status; `more` is added, or stands instead."""
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status} | more
