"""CloudEvents 1.0 in JSON (github.com/cloudevents/spec), the shape of everything that we tell other programs."""

import json
import secrets
from datetime import UTC, datetime
from typing import Any

PREFIX = "camera-agent."


def event(kind: str, camera: str, data: dict[str, Any], *, wall_ns: int, id_: str = "") -> str:
    """One line of JSON; `kind` is like `motion.started`; receivers drop a repeated `id_`."""
    body = {
        "specversion": "1.0",
        "type": f"{PREFIX}{kind}.v1",
        "source": f"/cameras/{camera}",
        "id": id_ or secrets.token_hex(8),
        "time": rfc3339(wall_ns),
        "datacontenttype": "application/json",
        "data": data,
    }
    return json.dumps(body, separators=(",", ":"))


def rfc3339(wall_ns: int) -> str:
    """UTC with milliseconds, ending in Z."""
    when = datetime.fromtimestamp(wall_ns / 1e9, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
